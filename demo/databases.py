"""Airflow's database and the application database of an Airflow of one's own: files in its home, or on a PostgreSQL server."""

from __future__ import annotations

import os
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Self

from demo.postgres import PostgresServer


@dataclass(frozen=True)
class Databases:
    """
    Where an Airflow keeps everything.

    :param airflow: URL of Airflow's own database.
    :param application: URL of the application database.
    :param environment: what tells Airflow about both.
    """

    airflow: str
    application: str
    environment: Mapping[str, str]

    @classmethod
    def in_home(cls, home: Path) -> Self:
        """Return two SQLite files, which Airflow and this package make by themselves."""
        application = f"sqlite:///{home}/accelerator.db"
        return cls(f"sqlite:///{home}/airflow.db", application, {"AIRFLOW__ACCELERATOR__SQL_ALCHEMY_CONN": application})

    @classmethod
    def on_postgres(cls, name: str, airflow: PostgresServer, application: PostgresServer | None = None) -> Self:
        """
        Create two empty databases.

        :param name: part of their names.
        :param application: another server for the application database.
        """
        name = f"{name}_{os.getpid()}"
        url = airflow.create_database(f"airflow_{name}")
        application_url = (application or airflow).create_database(f"accelerator_{name}")
        return cls(
            url,
            application_url,
            {
                "AIRFLOW__DATABASE__SQL_ALCHEMY_CONN": url,
                # This driver has no asynchronous sessions.
                "AIRFLOW__DATABASE__SQL_ALCHEMY_CONN_ASYNC": url.replace("+psycopg2:", "+psycopg:"),
                "AIRFLOW__ACCELERATOR__SQL_ALCHEMY_CONN": application_url,
            },
        )
