def get_provider_info() -> dict[str, object]:
    return {"package-name": "airflow-provider-cloud-accelerator", "name": "x", "description": "x"}
