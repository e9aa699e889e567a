"""A condition on a run's params and dates, evaluated in Jinja's sandbox when its task is about to run."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from airflow.sdk.exceptions import AirflowFailException

from provider.texts import first_line

__all__ = ["Condition"]


@dataclass(frozen=True)
class Condition:
    """
    An expression of Jinja without braces, such as ``params.region == 'EU'``; it holds where ``if`` would take it for true.

    :param expression: in Airflow's names: those of a task's template context, and the filters of its DAG.
    :param written: as a person wrote it, for messages; default: the same.
    """

    expression: str
    written: str = ""

    def __str__(self) -> str:
        return self.written or self.expression

    def holds(self, context: Mapping[str, Any]) -> bool:
        """
        Evaluate it; nothing of it is ever run as Python.

        :param context: of the task; the filters are those of its DAG.
        :raises AirflowFailException: it makes no sense for the values of this run, so that a retry cannot help.
        """
        environment = context["dag"].get_template_env(force_sandboxed=True)
        try:
            return bool(environment.compile_expression(self.expression, undefined_to_none=False)(dict(context)))
        except Exception as error:
            reason = first_line(f"{type(error).__name__}: {error}", 300)
            raise AirflowFailException(
                f"run_if ({self}) cannot be evaluated with the params of this run: {reason}. Correct run_if, or start a "
                "batch with other params."
            ) from error
