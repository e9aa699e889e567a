"""The snapshot's folder, the heartbeat of triggerers, and the limits of Cloud Composer."""

from __future__ import annotations

from pathlib import Path

import pytest

from provider.doctor.examination import State
from provider.doctor.machine import look_at_composer, look_at_heartbeat, look_at_snapshot_folder
from provider.exceptions import ConfigurationError

DIR, HOME, EXECUTOR = "AIRFLOW__ACCELERATOR__SNAPSHOT_DIR", "AIRFLOW_HOME", "AIRFLOW__CORE__EXECUTOR"


def test_a_folder_that_is_there_and_one_that_can_be_made(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv(DIR, str(tmp_path))
    there = look_at_snapshot_folder()
    monkeypatch.setenv(DIR, str(tmp_path / "new" / "folder"))
    assert (there.state, look_at_snapshot_folder().state) == (State.OK, State.OK)
    assert list(tmp_path.iterdir()) == []


def test_a_folder_that_is_none(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "file").touch()
    monkeypatch.setenv(DIR, str(tmp_path / "file"))
    verdict = look_at_snapshot_folder()
    assert (verdict.state, verdict.seen) == (State.ERROR, f"{tmp_path / 'file'} is no folder")


def test_a_folder_that_cannot_be_written(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv(DIR, "/proc/accelerator")  # nobody may, root neither
    verdict = look_at_snapshot_folder()
    assert verdict.state is State.ERROR
    assert verdict.remedy.startswith("Give Airflow's user the right")


def test_a_folder_of_one_machine_under_an_executor_of_several(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv(HOME, str(tmp_path / "home"))
    monkeypatch.setenv(EXECUTOR, "CeleryExecutor,KubernetesExecutor")
    monkeypatch.setenv(DIR, str(tmp_path / "home" / "accelerator"))
    assert look_at_snapshot_folder().state is State.WARNING
    monkeypatch.setenv(DIR, str(tmp_path / "shared"))
    assert look_at_snapshot_folder().state is State.OK


@pytest.mark.parametrize(("heartbeat", "threshold", "state"), [(5, 30, State.OK), (30, 90, State.OK), (30, 60, State.WARNING)])
def test_a_triggerer_that_is_well_never_counts_as_dead(
    heartbeat: int, threshold: int, state: State, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("AIRFLOW__TRIGGERER__JOB_HEARTBEAT_SEC", str(heartbeat))
    monkeypatch.setenv("AIRFLOW__TRIGGERER__TRIGGERER_HEALTH_CHECK_THRESHOLD", str(threshold))
    verdict = look_at_heartbeat()
    assert verdict is not None
    assert verdict.state is state
    assert (state is State.OK) or "to 90 at least" in verdict.remedy


def test_a_setting_that_is_no_number_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("AIRFLOW__TRIGGERER__JOB_HEARTBEAT_SEC", "often")
    with pytest.raises(ConfigurationError, match=r"^\[triggerer\] job_heartbeat_sec must be a number, not 'often'"):
        look_at_heartbeat()


class TestComposer:
    @pytest.fixture(autouse=True)
    def _composer(self, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setenv("COMPOSER_ENVIRONMENT", "prod")
        for option in ("SCHEDULER__SCHEDULER_HEARTBEAT_SEC", "TRIGGERER__JOB_HEARTBEAT_SEC"):
            monkeypatch.setenv(f"AIRFLOW__{option}", "30")
        monkeypatch.setenv("AIRFLOW__TRIGGERER__TRIGGERER_HEALTH_CHECK_THRESHOLD", "60")
        monkeypatch.setenv("AIRFLOW__CELERY__WORKER_CONCURRENCY", "6")

    def test_only_there(self, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.delenv("COMPOSER_ENVIRONMENT")
        assert look_at_composer() is None

    def test_within_the_limits(self) -> None:
        verdict = look_at_composer()
        assert verdict is not None
        assert verdict.state is State.OK, verdict

    @pytest.mark.parametrize(
        ("option", "value", "says"),
        [
            ("DAG_PROCESSOR__MIN_FILE_PROCESS_INTERVAL", "5", "[dag_processor] min_file_process_interval = 5, allowed is 30 at"),
            ("CORE__DAGBAG_IMPORT_TIMEOUT", "900", "[core] dagbag_import_timeout = 900, allowed is 600 at most"),
            ("DAG_PROCESSOR__DAG_FILE_PROCESSOR_TIMEOUT", "601", "dag_file_processor_timeout = 601"),
            ("CELERY__WORKER_CONCURRENCY", "25", "worker_concurrency = 25, allowed is 1 at least and 24 at most"),
            ("SCHEDULER__SCHEDULER_HEARTBEAT_SEC", "5", "scheduler_heartbeat_sec = 5"),
            ("TRIGGERER__JOB_HEARTBEAT_SEC", "5", "[triggerer] job_heartbeat_sec = 5"),
            ("TRIGGERER__TRIGGERER_HEALTH_CHECK_THRESHOLD", "59", "threshold = 59, allowed is 60 at least"),
        ],
    )
    def test_each_limit(self, option: str, value: str, says: str, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setenv(f"AIRFLOW__{option}", value)
        verdict = look_at_composer()
        assert verdict is not None
        assert verdict.state is State.WARNING
        assert says in verdict.seen
        assert ";" not in verdict.seen
