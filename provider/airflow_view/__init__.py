"""What people are told of Airflow: its state, by its REST API or by its database."""
