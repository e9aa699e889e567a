"""A person's own machine, which the cluster does not know."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

from tests.cluster.cluster import Cluster


class Person:
    """
    Somebody with the package in an environment, a bucket to copy to, and nothing of the cluster's configuration.

    :param home: an empty folder.
    """

    def __init__(self, home: Path) -> None:
        self.home = home

    def accelerator(self, *arguments: str) -> str:
        """Run the command and return what it prints."""
        command = str(Path(sys.executable).with_name("accelerator"))
        environment = {"PATH": "/usr/bin:/bin", "HOME": str(self.home), "AIRFLOW_HOME": str(self.home / "airflow")}
        result = subprocess.run([command, *arguments], check=True, cwd=self.home, env=environment, capture_output=True, text=True)
        return result.stdout

    def install_dag_files(self, cluster: Cluster) -> None:
        """Write the DAG files and copy them into the bucket."""
        self.accelerator("init", "dags-for-composer")
        cluster.bucket.copy(sorted((self.home / "dags-for-composer").glob("*.py")), "dags/")
