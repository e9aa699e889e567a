"""What configurations of several task types share."""

from __future__ import annotations

import re
from collections.abc import Callable
from typing import Annotated

from pydantic import AfterValidator, BeforeValidator, Field, StrictBool, StrictFloat, StrictInt, StrictStr

from dag_factory.specs import TaskOptions
from dag_factory.task_types import TaskConfig
from dag_factory.templates import is_template
from provider.plain_data import as_list
from provider.texts import quoted

__all__ = ["REMOTE_JOB_DEFAULTS", "RemoteJobConfig"]


def _check_bucket(value: str) -> str:
    if "/" in value and not is_template(value):
        raise ValueError("must be the name of a bucket alone, without gs:// and folder")
    return value


def _check_table(value: str) -> str:
    # A project may belong to a domain: example.com:project.dataset.table.
    if not is_template(value) and not re.fullmatch(r"(([^:\s]+:)?[^.:\s]+[.:])?[^.:\s]+\.[^.:\s]+", value):
        raise ValueError(f"must look like project.dataset.table or dataset.table, not {quoted(value)}")
    return value


def plain_statement(how: str) -> Callable[[str], str]:
    """
    Return a check of a text that is SQL, and no template.

    :param how: what to do instead.
    """

    def check(value: str) -> str:
        if is_template(value):
            raise ValueError(f"is no template, so that no value can become SQL; {how}")
        return value

    return check


Text = Annotated[StrictStr, Field(min_length=1)]
#: A list of texts; a single text stands for a list of one.
Texts = Annotated[tuple[Text, ...], BeforeValidator(as_list, json_schema_input_type=Text | tuple[Text, ...]), Field(min_length=1)]
#: A value that is one of JSON's, but no list or object.
Scalar = StrictBool | StrictInt | StrictFloat | StrictStr | None
Bucket = Annotated[Text, AfterValidator(_check_bucket)]
#: A table of BigQuery.
Table = Annotated[Text, AfterValidator(_check_table)]
Labels = dict[StrictStr, StrictStr]
Seconds = Annotated[StrictFloat, Field(gt=0, le=31_622_400)]

#: A retry attaches to the job that runs already, so that retries cost nothing; they cover Airflow's lost deferrals.
REMOTE_JOB_DEFAULTS = TaskOptions(retries=2, retry_delay_seconds=60)


class WaitConfig(TaskConfig):
    """
    How to wait for something elsewhere.

    :param poll_interval: seconds between two polls; None for the operator's default.
    :param initial_wait: seconds that are polled in the worker before the task defers.
    :param wait_timeout: seconds one try waits; None for the operator's default, a day.
    :param deferrable: wait in the triggerer, without a worker slot.
    """

    poll_interval: Seconds | None = None
    initial_wait: Seconds | None = None
    wait_timeout: Seconds | None = None
    deferrable: StrictBool | None = None


class RemoteJobConfig(WaitConfig):
    """
    How to wait for a job of a remote service, see :class:`WaitConfig`.

    :param cancel_on_kill: cancel the job when a person ends the task.
    :param cancel_on_timeout: cancel the job when a try has waited for too long.
    """

    cancel_on_kill: StrictBool | None = None
    cancel_on_timeout: StrictBool | None = None
