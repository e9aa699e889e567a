"""
Pages inside Airflow's UI: an application that the API server mounts, which serves a few files and answers with JSON.

Only the API server imports this package, at the first request; so FastAPI, SQLAlchemy and Airflow stand at the top of its
modules. Nothing here is reached without a login, and no row is shown to whom Airflow does not let read its DAG.
"""
