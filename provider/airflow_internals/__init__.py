"""The only place that touches what Airflow does not call public."""
