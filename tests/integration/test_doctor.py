"""
`accelerator doctor` in a real installation: all well; then each fault produced in turn and named.

What needs nothing but another environment of the command comes first, what takes all of Airflow away last.
"""

from __future__ import annotations

import sys
from collections.abc import Iterator
from contextlib import ExitStack

import pytest

from demo.postgres import PostgresServer
from demo.world import World
from provider.emulators.scenario import Scenario
from provider.metadata import engine
from tests.integration.doctor_world.airflow import AT_THE_END, OF_AIRFLOW
from tests.integration.doctor_world.asking import WAYS, Doctor, Fault
from tests.integration.doctor_world.database import OF_THE_DATABASE
from tests.integration.doctor_world.place import (
    CONNECTIONS,
    DATABASE,
    ENVIRONMENT,
    SCENARIO,
    WORKFLOWS,
    Installation,
    closed_and_silent_port,
)
from tests.integration.doctor_world.record import OF_THE_RECORD
from tests.integration.doctor_world.services import OF_SERVICES, OF_THE_MACHINE
from tests.integration.why_world import write_workflows

pytestmark = [pytest.mark.airflow_services, pytest.mark.timeout(900)]

#: Checks that an installation in which all is well does not have, and those of one that sees Airflow by its API.
ELSEWHERE = {"database seen by all", "connections of tasks", "limits of Composer"}
OF_THE_API = {"clock of the API server", "reconciler DAG"}
FAULTS = (*OF_THE_MACHINE, *OF_SERVICES, *OF_THE_DATABASE, *OF_THE_RECORD, *OF_AIRFLOW)


@pytest.fixture(scope="module")
def place(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Installation]:
    """Servers of its own, as both go away."""
    folder = tmp_path_factory.mktemp("doctor")
    file = write_workflows(folder / "workflows.yaml", WORKFLOWS)
    with ExitStack() as stack:
        try:
            airflow_postgres = stack.enter_context(PostgresServer())
        except FileNotFoundError as missing:
            pytest.skip(str(missing))
        postgres = stack.enter_context(PostgresServer(CONNECTIONS))
        closed, silent = (stack.enter_context(each) for each in closed_and_silent_port())
        world = stack.enter_context(
            World(
                folder,
                definitions=file,
                scenario=Scenario.model_validate(SCENARIO),
                postgres=airflow_postgres,
                application_postgres=postgres,
                environment=ENVIRONMENT,
                api=True,
                pubsub="builtin",  # which takes rules
            )
        )
        place = Installation(world, airflow_postgres, postgres, folder, closed.getsockname()[1], silent.getsockname()[1])
        # The scenario's has no dead letters.
        place.unsubscribe()
        place.subscribe()
        world.wait_for_dags(["accelerator_dispatcher", "accelerator_reconciler", "accelerator_alerts"])
        yield place
    assert world.airflow.own_processes() == []
    engine.dispose_engines()


@pytest.fixture(scope="module")
def doctor(place: Installation) -> Iterator[Doctor]:
    doctor = Doctor(place)
    doctor.is_well()
    yield doctor
    doctor.close()
    checks, faults = (max((len(row[column]) for row in doctor.table), default=0) for column in (0, 1))
    rows = [f"{check:{checks}}  {fault:{faults}}  {state:7}  {seen}" for check, fault, state, seen in doctor.table]
    sys.stdout.write("\n".join(["", *rows, ""]))


def test_all_well(doctor: Doctor) -> None:
    """By the command itself, for programs and for people."""
    checks = {line.check for fault in FAULTS for line in fault.lines} - ELSEWHERE
    for way, ask in (("API", doctor.ask_anew), ("database", doctor.ask)):
        answer = ask(WAYS[way])
        well = dict.fromkeys(checks if way == "API" else checks - OF_THE_API, ("ok", ""))
        assert (answer.code, {name: (state, remedy) for name, (state, _, remedy) in answer.findings().items()}) == (0, well), way
    for_people = doctor.ask({}, output="table")
    heads, *rows = for_people.said.splitlines()
    assert (for_people.code, heads.split(), len(rows)) == (0, ["state", "check", "seen", "what", "to", "do"], len(checks))
    assert {(row.split()[0], row.split()[-1]) for row in rows} == {("ok", "-")}


@pytest.mark.parametrize("fault", [pytest.param(fault, id=fault.name) for fault in FAULTS])
def test_each_fault_is_named(fault: Fault, place: Installation, doctor: Doctor) -> None:
    with fault.produced(place) as environment:
        doctor.names(fault, environment)
    doctor.is_well(*fault.arguments)


def test_there_is_a_fault_for_each_check(place: Installation, doctor: Doctor) -> None:
    """A check that is added to the doctor needs one here."""
    checks = doctor.checks({}) | doctor.checks({DATABASE: f"postgresql://bob@{place.closed}/shop"})
    assert {line.check for fault in FAULTS for line in fault.lines if line.state != "unknown"} == checks


def test_airflows_database_goes_away_and_its_processes_end(place: Installation, doctor: Doctor) -> None:
    """Nobody starts them again, so this is the last test."""
    for fault in AT_THE_END:
        with fault.produced(place) as environment:
            doctor.names(fault, environment)
