"""The reconciler: makes the application database equal to what Airflow has committed."""
