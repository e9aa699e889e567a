"""The users of an Airflow with the SimpleAuthManager."""

from __future__ import annotations

import json
import secrets
from collections.abc import Mapping
from pathlib import Path

import httpx


class AirflowUsers:
    """
    People with passwords; without any everybody is an administrator, and Airflow calls all of them Anonymous.

    :param people: name → role (``ADMIN``, ``OP``, ``USER``, ``VIEWER``).
    :param file: gets the passwords, as the auth manager reads them.
    """

    def __init__(self, people: Mapping[str, str], file: Path) -> None:
        self._people = dict(people)
        self._passwords = {name: secrets.token_urlsafe(12) for name in people}
        self._file = file
        if people:
            file.write_text(json.dumps(self._passwords))
            file.chmod(0o600)

    def environment(self) -> dict[str, str]:
        """Return the settings of the auth manager."""
        if not self._people:
            return {"AIRFLOW__CORE__SIMPLE_AUTH_MANAGER_ALL_ADMINS": "True"}
        return {
            "AIRFLOW__CORE__SIMPLE_AUTH_MANAGER_ALL_ADMINS": "False",
            "AIRFLOW__CORE__SIMPLE_AUTH_MANAGER_USERS": ",".join(f"{name}:{role}" for name, role in self._people.items()),
            "AIRFLOW__CORE__SIMPLE_AUTH_MANAGER_PASSWORDS_FILE": str(self._file),
        }

    def connection(self, address: str, person: str) -> str:
        """Return the connection of type ``airflow_api`` of somebody, as JSON."""
        login = {"login": person, "password": self._passwords[person]}
        return json.dumps({"conn_type": "airflow_api", "host": address, **login})

    def client(self, address: str, person: str | None) -> httpx.Client:
        """Return an authorised client; None for the first of the people."""
        person = person or next(iter(self._people), None)
        url = f"{address}/auth/token"
        if person is None:
            answer = httpx.get(url, timeout=30, trust_env=False)
        else:
            body = {"username": person, "password": self._passwords[person]}
            answer = httpx.post(url, json=body, timeout=30, trust_env=False)
        headers = {"Authorization": f"Bearer {answer.raise_for_status().json()['access_token']}"}
        return httpx.Client(base_url=address, headers=headers, timeout=120, trust_env=False)
