"""Task type ``sql``: statements on any connection whose provider has a hook for SQL."""

from __future__ import annotations

from typing import Annotated, Any, Self

from pydantic import AfterValidator, BeforeValidator, Field, StrictBool, StrictStr, model_validator

from dag_factory.task_types import OperatorCall, TaskConfig, TaskType, Templated, operator_arguments
from dag_factory.task_types.common import Scalar, Text, plain_statement
from provider.plain_data import as_list

Statement = Annotated[Text, AfterValidator(plain_statement("write a placeholder and give the value in parameters"))]
Statements = Annotated[
    tuple[Statement, ...], BeforeValidator(as_list, json_schema_input_type=Statement | tuple[Statement, ...]), Field(min_length=1)
]
Parameters = Annotated[dict[StrictStr, Scalar], Field(min_length=1)] | Annotated[tuple[Scalar, ...], Field(min_length=1)]


class SqlConfig(TaskConfig):
    """
    Configuration of statements, which run one after the other, on one connection.

    :param conn_id: connection of any type whose provider has a hook for SQL.
    :param sql: one statement, or a list of them.
    :param parameters: values of their placeholders, as the database's driver has them: by name, or in their order.
    :param autocommit: each statement is committed by itself; otherwise all of them at the end, or none.
    :param split_statements: a single text is several statements.
    :param keep_result: the rows of the last statement are kept in XCom.

    .. seealso:: https://airflow.apache.org/docs/apache-airflow-providers-common-sql/stable/operators.html
    """

    conn_id: Templated[Text]
    sql: Statements
    parameters: Templated[Parameters | None] = None
    autocommit: StrictBool = False
    split_statements: StrictBool | None = None
    keep_result: StrictBool = False

    @model_validator(mode="after")
    def _one_text(self) -> Self:
        if self.split_statements and len(self.sql) > 1:
            raise ValueError("split_statements: does not go with a list; each of its texts is one statement")
        return self


def operator(config: SqlConfig) -> OperatorCall:
    """Return the operator of a ``sql`` task."""
    from airflow.providers.common.sql.operators.sql import SQLExecuteQueryOperator

    own: dict[str, Any] = operator_arguments(config)
    statements = own.pop("sql")
    own["do_xcom_push"] = own.pop("keep_result")
    # Drivers take one text as it is, and the hook splits nothing else.
    return SQLExecuteQueryOperator, {**own, "sql": statements[0] if len(statements) == 1 else statements}


def _finish(_config: SqlConfig, made: Any) -> None:
    """Let no value become SQL, and no statement the name of a file: ``DROP TABLE old.sql`` ends like one."""
    made.template_fields = ("conn_id", "parameters")
    made.template_ext = ()


# Whether a statement may be repeated is for whoever writes it to say.
TASK_TYPE = TaskType("sql", SqlConfig, operator, finish=_finish)
