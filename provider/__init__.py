def get_provider_info():
    return {"package-name": "airflow-provider-cloud-accelerator","name":"x","description":"x"}
