"""What ``airflow.cfg`` says on the machines of a cluster."""

from __future__ import annotations

import secrets
from collections.abc import Mapping
from pathlib import Path
from urllib.parse import urlsplit

from cryptography.fernet import Fernet

from tests.cluster.machine import Settings

#: What Cloud Composer sets, or allows no lower value of; and the kit's health threshold.
_COMPOSER: Settings = {
    "dag_processor": {"min_file_process_interval": "30"},
    "scheduler": {"scheduler_heartbeat_sec": "15"},
    "triggerer": {"job_heartbeat_sec": "30", "triggerer_health_check_threshold": "90"},
}
_NOWHERE = "postgresql://nobody@127.0.0.1:1/none"


class Configuration:
    """
    The settings of all kinds of machines.

    :param url: of the api-server.
    :param broker: URL of the broker, without the number of a database.
    :param airflow: URL of Airflow's database, which workers do not get.
    :param users: settings of the auth manager, named as environment variables.
    :param accelerator: section ``accelerator``.
    :param snapshot: folder that outlives the dag-processor, as the bucket's data folder does on Cloud Composer.
    :param composer: whether Cloud Composer's own values apply.
    """

    def __init__(
        self,
        *,
        url: str,
        broker: str,
        airflow: str,
        users: Mapping[str, str],
        accelerator: Mapping[str, str],
        snapshot: Path,
        composer: bool,
    ) -> None:
        address = urlsplit(url)
        self._sections: dict[str, dict[str, str]] = {
            "core": {
                "executor": "CeleryExecutor",
                "load_examples": "False",
                "dags_are_paused_at_creation": "False",
                "execution_api_server_url": f"{url}/execution/",
                "fernet_key": Fernet.generate_key().decode(),
                "dagbag_import_timeout": "240",
            },
            "database": _database(airflow),
            "celery": {"broker_url": f"{broker}/0", "result_backend": f"{broker}/1", "worker_concurrency": "4"},
            "api": {
                "host": address.hostname or "",
                "port": str(address.port),
                "base_url": url,
                "workers": "1",
                "secret_key": secrets.token_hex(16),
            },
            "api_auth": {"jwt_secret": secrets.token_hex(32)},
            "dag_processor": {"refresh_interval": "5", "dag_file_processor_timeout": "300"},
            # What is killed is missed after a minute, not after five or ten.
            "scheduler": {
                "enable_health_check": "False",
                "scheduler_idle_sleep_time": "0.5",
                "task_instance_heartbeat_timeout": "60",
                "task_queued_timeout": "60",
                "task_queued_timeout_check_interval": "10",
            },
            "triggerer": {},
            "usage_data_collection": {"enabled": "False"},
        }
        if composer:
            for section, options in _COMPOSER.items():
                self._sections[section].update(options)
        self._sections["accelerator"] = dict(accelerator)
        self._snapshot = {"snapshot_dir": str(snapshot)}
        self._users = {name.removeprefix("AIRFLOW__CORE__").lower(): value for name, value in users.items()}

    def of(self, kind: str) -> Settings:
        """Return the settings of a kind of machine."""
        if kind == "worker":
            return {**self._sections, "database": _database(_NOWHERE)}
        if kind == "dag-processor":
            return {**self._sections, "accelerator": {**self._sections["accelerator"], **self._snapshot}}
        if kind == "api-server":
            return {**self._sections, "core": {**self._sections["core"], **self._users}}
        return self._sections


def _database(url: str) -> dict[str, str]:
    # Airflow's asynchronous sessions need another driver.
    return {"sql_alchemy_conn": url, "sql_alchemy_conn_async": url.replace("+psycopg2:", "+psycopg:")}
