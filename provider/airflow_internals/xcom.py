"""Reading one XCom of a task instance, outside of its own context."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from airflow.sdk.types import TaskInstanceKey


def xcom_value(ti_key: TaskInstanceKey, key: str) -> Any:
    """
    Return an XCom of a task instance; None where there is none.

    Stands on ``airflow.sdk.execution_time.xcom.XCom`` (3.3.2): the class that the installation has configured. Only its base
    class is public, and that cannot read what a backend of one's own has written.
    """
    from airflow.sdk.execution_time.xcom import XCom

    return XCom.get_value(ti_key=ti_key, key=key)
