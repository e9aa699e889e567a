"""Hooks of Airflow: hints and provisional rows."""
