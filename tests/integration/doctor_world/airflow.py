"""Faults of Airflow, of the way to it, and of our DAGs in it: how each is produced and mended, and what the doctor has to say."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from http.server import ThreadingHTTPServer

from tests.integration.doctor_world.asking import BOTH, BY_API, SECRET, Fault, Line, Produced, dead, late, setting, settings
from tests.integration.doctor_world.place import LEASE_IS_OVER, NOTICED, Environment, Installation, LateProxy
from tests.waiting import wait_for

#: Those of our DAGs that run all the time.
OUR_DAGS = ("reconciler", "dispatcher", "alerts")

_PROCESSES = frozenset({"scheduler", "triggerer", "dag-processor"})
_AIRFLOW = _PROCESSES | {"clock of the API server", "reconciler DAG", "dispatcher DAG", "alerts DAG"}
_CONNECTION = r"Correct the connection that \[accelerator\] airflow_conn_id names, and see that the API server is up\."


def _airflow(seen: str) -> tuple[Line, ...]:
    return (Line("airflow", "error", seen, _CONNECTION),)


def _our_dags(seen: str, remedy: str) -> tuple[Line, ...]:
    """``{}`` stands for the DAG's name."""
    return tuple(
        Line(f"{name} DAG", "error", seen.format(f"accelerator_{name}"), remedy.format(f"accelerator_{name}"), way)
        for name, way in (("reconciler", "API"), ("dispatcher", ""), ("alerts", ""))
    )


def api(values: Callable[[Installation], dict[str, str | None]]) -> Produced:
    """Some fields of the connection are others."""
    return settings(lambda place: place.connection("airflow_api", **values(place)))


@contextmanager
def late_api(place: Installation) -> Iterator[Environment]:
    """A proxy before the API server, by whose Date it is a minute late."""
    handler = type("Handler", (LateProxy,), {"target": place.world.airflow.url})
    with ThreadingHTTPServer(("127.0.0.1", 0), handler) as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        try:
            yield place.connection("airflow_api", host=f"http://127.0.0.1:{server.server_port}")
        finally:
            server.shutdown()


@contextmanager
def without_plugin(place: Installation) -> Iterator[Environment]:
    """An older version of the package without a plugin, first on the path."""
    folder = place.folder / "older"
    (folder / "airflow_provider_cloud_accelerator-0.0.1.dist-info").mkdir(parents=True)
    metadata = folder / "airflow_provider_cloud_accelerator-0.0.1.dist-info" / "METADATA"
    metadata.write_text("Metadata-Version: 2.1\nName: airflow-provider-cloud-accelerator\nVersion: 0.0.1\n")
    yield {"PYTHONPATH": str(folder)}


@contextmanager
def paused(place: Installation) -> Iterator[Environment]:
    def pause(value: bool) -> None:
        for name in OUR_DAGS:
            place.world.airflow.rest("PATCH", f"/dags/accelerator_{name}", json={"is_paused": value})

    pause(True)
    try:
        yield {}
    finally:
        pause(False)


@contextmanager
def without_run(place: Installation) -> Iterator[Environment]:
    """Somebody marks the dispatcher's run failed, and a scheduler that stands still makes no other."""
    with place.frozen(*place.component("scheduler")):
        (run_id,) = place.runs("accelerator_dispatcher")
        place.world.airflow.rest("PATCH", f"/dags/accelerator_dispatcher/dagRuns/{run_id}", json={"state": "failed"})
        yield {}
    place.world.airflow.read_again("dispatcher.py")  # Airflow makes the next one when it has read the file again


@contextmanager
def without_files(place: Installation) -> Iterator[Environment]:
    """The DAG files are gone."""
    rest = place.world.airflow.rest
    files = {place.world.dags / f"{name}.py": (place.world.dags / f"{name}.py").read_text() for name in OUR_DAGS}

    def are(stale: bool) -> Callable[[], bool]:
        return lambda: all(rest("GET", f"/dags/accelerator_{name}")["is_stale"] is stale for name in OUR_DAGS)

    for file in files:
        file.unlink()
    try:
        place.wait("the DAGs to be stale", are(True))
        yield {}
    finally:
        for file, content in files.items():
            file.write_text(content)
            place.world.airflow.read_again(file.name)
        place.wait("the DAGs to be back", are(False))


def standstill(component: str) -> Produced:
    """A component that is there and does nothing."""

    @contextmanager
    def produced(place: Installation) -> Iterator[Environment]:
        with place.frozen(*place.component(component)):
            place.wait_until_dead(component)
            yield {}

    return produced


@contextmanager
def frozen_api_server(place: Installation) -> Iterator[Environment]:
    with place.frozen(*place.component("api-server")):
        yield {}


OF_AIRFLOW = (
    Fault(
        "nobody listens where the API server should be",
        api(lambda place: {"host": f"http://{place.closed}"}),
        _airflow(r"Airflow POST /auth/token was not answered: ConnectError: .* Connection refused\."),
        _AIRFLOW,
    ),
    Fault(
        "the API server's user has another password",
        api(lambda _: {"password": SECRET}),
        _airflow(r"Airflow POST /auth/token answered 401: .*"),
        _AIRFLOW,
    ),
    Fault(
        "a token that Airflow has not issued",
        api(lambda _: {"login": None, "password": SECRET}),
        _airflow(
            r"Airflow GET \S+ answered 403: .*Invalid JWT token.* Correct the connection's token, or give all of Airflow's API "
            r"servers the same \[api_auth\] jwt_secret\."
        ),
        _AIRFLOW,
    ),
    Fault(
        "airflow_conn_id names no connection",
        setting(**{BY_API: "none_such"}),
        _airflow(r".*none_such.*isn't defined"),
        _AIRFLOW,
    ),
    Fault(
        "the API server is something else",
        api(lambda place: {"host": place.world.emulators.admin_url}),
        _airflow(r"Airflow POST /auth/token answered 404: .*"),
        _AIRFLOW,
    ),
    Fault("the API server stands still", frozen_api_server, _airflow("no answer within 9 seconds"), _AIRFLOW),
    Fault(
        "the API server's clock is a minute late",
        late_api,
        (late("clock of the API server", "API server", "error", r"(58|59|60)"),),
    ),
    Fault(
        "an older version, without the plugin, comes first on the path",
        without_plugin,
        (
            Line(
                "plugin",
                "error",
                "Airflow does not find it in this environment",
                "Install airflow-provider-cloud-accelerator as a package, and not as a folder on the path",
            ),
        ),
        fresh=True,
    ),
    Fault("our DAGs are paused", paused, _our_dags("{} is paused", "Unpause the DAG {}"), ways=BOTH),
    Fault(
        "our DAG files are gone",
        without_files,
        _our_dags("Airflow has no DAG {}", "Write the DAG files with `accelerator init`, set"),
        ways=BOTH,
    ),
    Fault(
        "the dispatcher's run is gone",
        without_run,
        (
            Line(
                "dispatcher DAG",
                "warning",
                "no run of accelerator_dispatcher is running",
                "Look at the last run of accelerator_dispatcher",
            ),
        ),
        ways=BOTH,
    ),
    Fault("the scheduler stands still", standstill("scheduler"), (dead("scheduler"),), ways=BOTH),
    Fault("the dag-processor stands still", standstill("dag-processor"), (dead("dag-processor"),), ways=BOTH),
    Fault("the triggerer stands still", standstill("triggerer"), (dead("triggerer"),), ways=BOTH),
)

_OLD = r"(none leads|the one on \S+ is silent for .*); the record is complete as of .* ago"
_SILENT = (
    Line("reconciler", "error", _OLD, "Unpause the DAG accelerator_reconciler", "API"),
    Line("reconciler", "error", _OLD, "Start the scheduler", "database"),
    Line("plugin", "unknown", "installed here; no reconciler tells .*", "Install the package where the scheduler", "database"),
)


@contextmanager
def stopped_database(place: Installation) -> Iterator[Environment]:
    """Airflow's processes but the API server end by it."""
    place.airflow_postgres.stop()
    try:
        ends = [place.world.airflow.process(name) for name in sorted(_PROCESSES)]
        assert wait_for(lambda: all(process.poll() is not None for process in ends), NOTICED)
        assert wait_for(lambda: place.sql(LEASE_IS_OVER), NOTICED)
        yield {}
    finally:
        place.airflow_postgres.start()


@contextmanager
def dead_processes(place: Installation) -> Iterator[Environment]:
    """Airflow waits for a while before it takes them for dead."""
    names = [name.replace("-", "_") for name in _PROCESSES]
    assert wait_for(lambda: not any(place.world.airflow.are_healthy([name]) for name in names), NOTICED)
    yield {}


#: The last ones: nobody starts Airflow's processes again.
AT_THE_END = (
    Fault(
        "Airflow's database server is stopped",
        stopped_database,
        (
            Line(
                "airflow",
                "error",
                r"seen by its REST API \(connection \S+\): its database is unhealthy",
                "See that Airflow's",
                "API",
            ),
            Line(
                "airflow",
                "error",
                r"Airflow's database does not answer \(OperationalError: .*\)\.",
                r"See that Airflow's database server is up, and reached from this machine by \[database\] sql_alchemy_conn",
                "database",
            ),
            *_SILENT,
        ),
        _AIRFLOW,
        BOTH,
    ),
    Fault(
        "Airflow's processes have ended",
        dead_processes,
        (*(dead(name) for name in sorted(_PROCESSES)), *_SILENT),
        ways=BOTH,
    ),
)
