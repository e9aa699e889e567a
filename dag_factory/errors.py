"""The way of problems to Airflow's list of import errors."""

from __future__ import annotations

from airflow.sdk import get_parsing_context

from dag_factory.factory import build_all
from dag_factory.problems import raise_problems


def raise_definition_errors() -> None:
    """
    Raise one error that lists everything wrong with the definitions, for a DAG file that holds nothing else.

    Airflow shows it as that file's import error, while the DAGs, which are in another file, stay. A process that wants one
    DAG is told nothing.

    :raises DefinitionError: there are problems; the same ones give the same text at every parse.
    """
    if get_parsing_context().dag_id is None:
        raise_problems(build_all().problems, "Other workflows are not affected; these use their last good definitions, if any.")
