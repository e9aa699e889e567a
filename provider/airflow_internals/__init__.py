"""The one door to what Airflow and its providers do not call public."""
