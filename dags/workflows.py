"""
Airflow DAGs of all workflows in the tables.

What is wrong with a definition is on Airflow's list of import errors, under ``definition_errors.py``. Keep imports out of
this file: every task process reads it.
"""

from __future__ import annotations

from dag_factory.factory import build_dags

globals().update({f"workflow {dag_id}": dag for dag_id, dag in build_dags().items()})
