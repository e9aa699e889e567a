"""What the Dataform emulator remembers: repositories, compilation results, workflow invocations."""

from __future__ import annotations

import hashlib
import uuid
from collections import Counter, defaultdict
from collections.abc import Sequence
from dataclasses import dataclass, field
from datetime import datetime, timedelta

from provider.emulators.dataform_graph import (
    CompiledAction,
    Overrides,
    PlannedAction,
    Selection,
    compile_actions,
    plan,
    select,
)
from provider.emulators.grpc_server import failed_precondition, invalid_argument, not_found
from provider.emulators.ledger import Ledger
from provider.emulators.scenario import (
    ActionSpec,
    CompilationErrorSpec,
    ReleaseConfigSpec,
    RepositorySpec,
    Scenario,
    TargetSpec,
    WorkflowConfigSpec,
)
from provider.emulators.timeline import Phase, Timeline, Timers


@dataclass(frozen=True)
class Compilation:
    """
    A compilation result.

    :param source: the oneof field that was set, and its value.
    :param config: the code compilation config in wire format, which both API versions share.
    """

    name: str
    repository: str
    source: tuple[str, str]
    config: bytes
    overrides: Overrides
    actions: tuple[CompiledAction, ...]
    errors: tuple[CompilationErrorSpec, ...]
    created_at: datetime

    @property
    def commit_sha(self) -> str:
        """The commit that a commitish stands for; the same one for the same commitish."""
        return hashlib.sha1(self.source[1].encode(), usedforsecurity=False).hexdigest()


@dataclass
class Invocation:
    """
    A workflow invocation.

    :param source: the oneof field that was set, and its value.
    :param config: the invocation config in wire format, which both API versions share.
    """

    name: str
    repository: str
    source: tuple[str, str]
    compilation: str
    config: bytes
    actions: list[PlannedAction]
    timeline: Timeline
    recorded: bool = field(default=False, repr=False)

    def state(self, now: datetime) -> str:
        """Return the name of its state at a moment."""
        phase = self.timeline.phase(now)
        if phase is not Phase.DONE:
            return phase.name
        return "FAILED" if any(planned.state == "FAILED" for planned in self.actions) else "SUCCEEDED"

    def ended_at(self, now: datetime) -> datetime | None:
        """Return when it ended, None while it runs."""
        return self.timeline.ends_at if self.timeline.phase(now) in (Phase.DONE, Phase.CANCELLED) else None


class DataformState:
    """
    The resources of the emulated service. Callers hold ``timers.lock``.

    :raises GrpcStatusError: by every method, where the vendor would refuse.
    """

    def __init__(self, scenario: Scenario, ledger: Ledger, timers: Timers) -> None:
        self._ledger = ledger
        self._timers = timers
        self._auto_create = scenario.auto_create
        self._auto_seconds = scenario.auto_seconds
        self._repositories = {name: spec.model_copy(deep=True) for name, spec in scenario.dataform.repositories.items()}
        self._made_up: set[str] = set()
        self._failed: defaultdict[str, Counter[str]] = defaultdict(Counter)
        self.compilations: dict[str, Compilation] = {}
        self.invocations: dict[str, Invocation] = {}

    def repository(self, name: str) -> RepositorySpec:
        """Return a repository, made up on its first use if the scenario says so."""
        if name not in self._repositories:
            if not self._auto_create:
                raise not_found(f"Repository {name} not found.")
            project = name.split("/")[1]
            self._repositories[name] = RepositorySpec(default_database=project)
            self._made_up.add(name)
        return self._repositories[name]

    def release_config(self, repository: str, name: str) -> ReleaseConfigSpec:
        """Return a release config by its full name."""
        spec = self.repository(repository)
        config_id = name.rpartition("/")[2]
        for config in spec.release_configs:
            if config.name == config_id:
                return config
        if repository not in self._made_up:
            raise not_found(f"Release config {name} not found.")
        spec.release_configs.append(ReleaseConfigSpec(name=config_id))
        return spec.release_configs[-1]

    def workflow_config(self, repository: str, name: str) -> WorkflowConfigSpec:
        """Return a workflow config by its full name."""
        spec = self.repository(repository)
        config_id = name.rpartition("/")[2]
        for config in spec.workflow_configs:
            if config.name == config_id:
                return config
        if repository not in self._made_up:
            raise not_found(f"Workflow config {name} not found.")
        release = self.release_config(repository, f"{repository}/releaseConfigs/production")
        spec.workflow_configs.append(WorkflowConfigSpec(name=config_id, release_config=release.name))
        return spec.workflow_configs[-1]

    def compile(self, repository: str, source: tuple[str, str], config: bytes, overrides: Overrides) -> Compilation:
        """Create a compilation result."""
        spec = self.repository(repository)
        compilation = Compilation(
            f"{repository}/compilationResults/{uuid.uuid4()}",
            repository,
            source,
            config,
            overrides,
            tuple(compile_actions(spec, overrides)),
            tuple(spec.compilation_errors),
            self._timers.now(),
        )
        self.compilations[compilation.name] = compilation
        return compilation

    def compilation(self, name: str) -> Compilation:
        """Return a compilation result."""
        try:
            return self.compilations[name]
        except KeyError:
            raise not_found(f"Compilation result {name} not found.") from None

    def invocation(self, name: str) -> Invocation:
        """Return a workflow invocation."""
        try:
            return self.invocations[name]
        except KeyError:
            raise not_found(f"Workflow invocation {name} not found.") from None

    def invoke(self, compilation: Compilation, source: tuple[str, str], config: bytes, selection: Selection) -> Invocation:
        """Start a workflow invocation of a compilation result."""
        if compilation.errors:
            raise failed_precondition(
                f"Compilation result {compilation.name} has {len(compilation.errors)} compilation error(s) and cannot be invoked."
            )
        chosen = self._select(compilation, selection)
        repository = self.repository(compilation.repository)
        planned = plan(chosen, self._failed[compilation.repository])
        invocation = Invocation(
            f"{compilation.repository}/workflowInvocations/{uuid.uuid4()}",
            compilation.repository,
            source,
            compilation.name,
            config,
            planned,
            Timeline(
                self._timers.now(),
                max((action.ends for action in planned), default=timedelta()),
                timedelta(seconds=repository.cancel_seconds),
            ),
        )
        self.invocations[invocation.name] = invocation
        self._watch(invocation)
        return invocation

    def cancel(self, invocation: Invocation) -> None:
        """Ask a running invocation to end."""
        now = self._timers.now()
        if not invocation.timeline.cancel(now):
            raise failed_precondition(
                f"Workflow invocation {invocation.name} is {invocation.state(now)} and cannot be cancelled."
            )
        self._watch(invocation)

    def delete(self, invocation: Invocation) -> None:
        """Forget an invocation that has ended."""
        if invocation.ended_at(self._timers.now()) is None:
            raise failed_precondition(f"Workflow invocation {invocation.name} is running; cancel it first.")
        del self.invocations[invocation.name]

    def _select(self, compilation: Compilation, selection: Selection) -> Sequence[CompiledAction]:
        chosen = select(compilation.actions, selection)
        if compilation.repository in self._made_up:
            spec = self.repository(compilation.repository)
            self._make_up_actions(spec, compilation, selection)
            return select(compile_actions(spec, compilation.overrides), selection)
        if not chosen and self.repository(compilation.repository).empty_selection == "refused":
            raise invalid_argument(
                f"No action of compilation result {compilation.name} matches the included targets"
                f" {[str(target) for target in selection.targets]} and tags {list(selection.tags)}."
            )
        return chosen

    def _make_up_actions(self, spec: RepositorySpec, compilation: Compilation, selection: Selection) -> None:
        known = {action.target.name for action in spec.actions}
        tags = {tag for action in spec.actions for tag in action.tags}
        for target in selection.targets:
            if target.name not in known:
                made = TargetSpec(database=target.database, schema_=target.schema, name=target.name)
                spec.actions.append(ActionSpec(target=made, seconds=self._auto_seconds))
                known.add(target.name)
        for tag in selection.tags:
            if tag not in tags:
                made = TargetSpec(name=f"tagged_{tag}")
                spec.actions.append(ActionSpec(target=made, tags=[tag], seconds=self._auto_seconds))
        if not spec.actions:
            made = TargetSpec(name=compilation.repository.rpartition("/")[2])
            spec.actions.append(ActionSpec(target=made, seconds=self._auto_seconds))

    def _watch(self, invocation: Invocation) -> None:
        def settle(now: datetime) -> None:
            if invocation.recorded or invocation.ended_at(now) is None:
                return
            invocation.recorded = True
            reasons = {
                str(planned.action.target): planned.failure_reason for planned in invocation.actions if planned.failure_reason
            }
            state = invocation.state(now)
            self._ledger.append(
                "dataform",
                f"workflow_invocation_{state.lower()}",
                invocation.name,
                detail={"failure_reasons": reasons} if state == "FAILED" else {},
                at=invocation.timeline.ends_at,
            )

        self._timers.at(invocation.timeline.ends_at, settle)
