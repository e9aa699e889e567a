# ruff: noqa: F401, TID253 - imported for the dag-processor alone, see below
"""
No Airflow DAG: shows what is wrong with the workflow tables on Airflow's list of import errors.

The Google imports are for the dag-processor: it imports a file's ``airflow.…`` modules once before it forks, and all later
parses of ``workflows.py``, which makes the operators, find them there. Task processes never read this file.
"""

from __future__ import annotations

import airflow.providers.google.cloud.operators.bigquery
import airflow.providers.google.cloud.transfers.gcs_to_bigquery
import airflow.providers.google.cloud.transfers.gcs_to_gcs

from dag_factory.factory import raise_definition_errors

raise_definition_errors()
