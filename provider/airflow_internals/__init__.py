"""The one door to what Airflow does not call public."""
