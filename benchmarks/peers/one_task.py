"""
The life of one task instance without a scheduler: all tries of any operator, deferrals included.

Runs in this project's environment and in the peers', and knows neither. Standard input holds one JSON object:

``operator``, ``arguments``
    import path and keyword arguments.
``tries``
    how many the task may have; 1 unless given.
``triggerer_dies_after``
    a ledger entry's operation: once it is there, and a trigger runs, the trigger's triggerer dies, and another one
    starts the trigger anew from its stored form, as Airflow's does.
``admin_url``
    where the emulators' ledger is.

Standard output gets one JSON object: ``outcome`` (success, failed), ``error``, ``result``, ``xcoms``,
``deferrals``, ``tries``.
"""

from __future__ import annotations

import asyncio
import importlib
import json
import os
import sys
import time
import urllib.parse
import urllib.request
from typing import Any

POLL_SECONDS = 0.1


class Store:
    """The task's ``task_state_store``: kept from try to try."""

    def __init__(self) -> None:
        self._values: dict[str, str] = {}

    def get(self, key: str, default: Any = None) -> Any:
        """Return a value."""
        return json.loads(self._values[key]) if key in self._values else default

    def set(self, key: str, value: Any, **_: Any) -> None:
        """Keep a value."""
        self._values[key] = json.dumps(value)


class TaskInstance:
    """The part of Airflow's runtime task instance that the operators use."""

    dag_id, run_id, task_id, map_index = "scenario", "run", "job", -1

    def __init__(self, tries: int) -> None:
        self.try_number = 0
        self.max_tries = tries - 1
        self.xcoms: dict[str, Any] = {}

    def xcom_push(self, key: str, value: Any) -> None:
        """Keep a value."""
        self.xcoms[key] = value


class TaskLife:
    """Runs the tries of one task."""

    def __init__(self, order: dict[str, Any]) -> None:
        self._order = order
        self._ti = TaskInstance(order.get("tries", 1))
        self._store = Store()
        self._dies_after: str | None = order.get("triggerer_dies_after")
        # A triggerer runs all its triggers in one loop, and peers keep clients that are bound to it.
        self._triggerer = asyncio.Runner()
        self.deferrals = 0

    def run(self) -> dict[str, Any]:
        """Run try after try until one succeeds, none is left, or the operator says that a retry is useless."""
        from airflow.sdk.exceptions import AirflowFailException

        told: dict[str, Any] = {}
        while self._ti.try_number <= self._ti.max_tries:
            self._ti.try_number += 1
            try:
                told = {"outcome": "success", "error": "", "result": self._one_try()}
                break
            except AirflowFailException as error:
                told = {"outcome": "failed", "error": str(error), "result": None}
                break
            except Exception as error:  # noqa: BLE001 - whatever a peer raises is the finding
                told = {"outcome": "failed", "error": str(error), "result": None}
        return {**told, "xcoms": self._ti.xcoms, "deferrals": self.deferrals, "tries": self._ti.try_number}

    def _one_try(self) -> Any:
        from airflow.sdk.exceptions import TaskDeferred

        method: str = "execute"
        arguments: dict[str, Any] = {}
        while True:
            operator = _imported(self._order["operator"])(task_id="job", **self._order["arguments"])
            context = {"ti": self._ti, "task_instance": self._ti, "task": operator, "task_state_store": self._store}
            try:
                if method == "execute":
                    return operator.execute(context)
                return operator.resume_execution(method, arguments, context)
            except TaskDeferred as deferral:
                self.deferrals += 1
                stored = json.loads(json.dumps(deferral.trigger.serialize()))
                event = self._triggerer.run(self._first_event(stored))
                method, arguments = deferral.method_name, {**(deferral.kwargs or {}), "event": event}

    async def _first_event(self, stored: tuple[str, dict[str, Any]]) -> Any:
        running = asyncio.create_task(self._event(stored))
        if self._dies_after:
            happened = asyncio.create_task(asyncio.to_thread(self._await_entry, self._dies_after))
            await asyncio.wait({running, happened}, return_when=asyncio.FIRST_COMPLETED)
            if not running.done():
                self._dies_after = None
                running.cancel()
                await asyncio.gather(running, return_exceptions=True)
                running = asyncio.create_task(self._event(stored))
        return await running

    async def _event(self, stored: tuple[str, dict[str, Any]]) -> Any:
        path, arguments = stored
        trigger = _imported(path)(**arguments)
        trigger.task_instance = self._ti
        async for event in trigger.run():
            return event.payload
        raise RuntimeError("the trigger ended without an event")

    def _await_entry(self, operation: str) -> None:
        """Return once the ledger has an entry of that operation."""
        address = f"{self._order['admin_url']}/_emulator/ledger?" + urllib.parse.urlencode({"operation": operation})
        while True:
            with urllib.request.urlopen(address) as answer:  # noqa: S310 - the emulators' own address
                if json.load(answer):
                    return
            time.sleep(POLL_SECONDS)


def _imported(path: str) -> Any:
    module, _, name = path.rpartition(".")
    return getattr(importlib.import_module(module), name)


def main() -> None:
    """Read the order, and answer on what is standard output now; whatever else is printed goes to standard error."""
    answer = os.fdopen(os.dup(sys.stdout.fileno()), "w")
    os.dup2(sys.stderr.fileno(), sys.stdout.fileno())
    told = TaskLife(json.load(sys.stdin)).run()
    answer.write(json.dumps(told, default=str) + "\n")
    answer.flush()
    # Peers leave clients open whose finalisers would wait for a loop that is gone.
    os._exit(0)


if __name__ == "__main__":
    main()
