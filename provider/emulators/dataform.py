# ruff: noqa: TID253 - the vendor's types are this module's subject, and only the emulators import it
"""
The Dataform API over gRPC, ``google.cloud.dataform.v1`` and ``v1beta1`` by one implementation.

Follows https://cloud.google.com/dataform/reference/rpc/google.cloud.dataform.v1. Where that page leaves a refusal open,
this emulator answers FAILED_PRECONDITION for a resource in the wrong state and INVALID_ARGUMENT for a request that selects
nothing (unless the scenario says otherwise) and for settings of the compilation beside a release config, which has its own.
"""

from __future__ import annotations

import re
from collections.abc import Callable
from datetime import datetime
from types import ModuleType
from typing import Any

import grpc
from google.cloud import dataform_v1, dataform_v1beta1
from google.protobuf import empty_pb2
from google.protobuf.json_format import MessageToDict

from provider.emulators.dataform_graph import CompiledAction, Overrides, PlannedAction, Selection, Target, state_at
from provider.emulators.dataform_state import Compilation, DataformState, Invocation
from provider.emulators.grpc_server import FaultingCalls, GrpcServer, invalid_argument, page, serialize
from provider.emulators.ledger import Ledger
from provider.emulators.rules import RuleBook
from provider.emulators.scenario import REPOSITORY_NAME, ReleaseConfigSpec, Scenario, WorkflowConfigSpec
from provider.emulators.timeline import Timers

DATAFORM_CORE_VERSION = "3.0.0"
_CONFIG_FIELDS = ("default_database", "default_schema", "database_suffix", "schema_suffix", "table_prefix")


class DataformEmulator:
    """
    A Dataform service on loopback.

    :param port: 0 takes a free one.
    """

    def __init__(self, scenario: Scenario, rules: RuleBook, ledger: Ledger, timers: Timers, *, port: int = 0) -> None:
        self._server = GrpcServer(port)
        self.address = self._server.address
        state = DataformState(scenario, ledger, timers)
        calls = FaultingCalls("dataform", rules, ledger, self._server.stopping)
        for package, types in (
            ("google.cloud.dataform.v1", dataform_v1),
            ("google.cloud.dataform.v1beta1", dataform_v1beta1),
        ):
            service = DataformService(types, state, ledger, timers)
            self._server.add(f"{package}.Dataform", service.handlers(calls))

    def start(self) -> None:
        """Begin to serve."""
        self._server.start()

    def stop(self) -> None:
        """End open calls and free the port."""
        self._server.stop()


class DataformService:
    """One API version's methods on the shared state."""

    def __init__(self, types: ModuleType, state: DataformState, ledger: Ledger, timers: Timers) -> None:
        self._types: Any = types
        self._state = state
        self._ledger = ledger
        self._timers = timers

    def handlers(self, calls: FaultingCalls) -> dict[str, grpc.RpcMethodHandler]:
        """Return the handler of every method that is emulated."""
        methods: dict[str, Callable[[Any], Any]] = {
            "GetRepository": self.get_repository,
            "GetReleaseConfig": self.get_release_config,
            "ListReleaseConfigs": self.list_release_configs,
            "GetWorkflowConfig": self.get_workflow_config,
            "ListWorkflowConfigs": self.list_workflow_configs,
            "CreateCompilationResult": self.create_compilation_result,
            "GetCompilationResult": self.get_compilation_result,
            "ListCompilationResults": self.list_compilation_results,
            "QueryCompilationResultActions": self.query_compilation_result_actions,
            "CreateWorkflowInvocation": self.create_workflow_invocation,
            "GetWorkflowInvocation": self.get_workflow_invocation,
            "ListWorkflowInvocations": self.list_workflow_invocations,
            "CancelWorkflowInvocation": self.cancel_workflow_invocation,
            "DeleteWorkflowInvocation": self.delete_workflow_invocation,
            "QueryWorkflowInvocationActions": self.query_workflow_invocation_actions,
        }

        def locked(method: Callable[[Any], Any]) -> Callable[[Any, grpc.ServicerContext], Any]:
            def call(request: Any, _: grpc.ServicerContext) -> Any:
                with self._timers.lock:
                    return method(request)

            return call

        return {
            name: calls.unary(name, getattr(self._types, f"{name}Request"), locked(method)) for name, method in methods.items()
        }

    def get_repository(self, request: Any) -> Any:
        """Return a repository."""
        _check_name(request.name, REPOSITORY_NAME)
        self._state.repository(request.name)
        return self._types.Repository(name=request.name)

    def get_release_config(self, request: Any) -> Any:
        """Return a release config."""
        repository = _parent_of(request.name, "releaseConfigs")
        return self._release_config(repository, self._state.release_config(repository, request.name))

    def list_release_configs(self, request: Any) -> Any:
        """Return a page of the release configs."""
        configs = self._state.repository(_check_name(request.parent, REPOSITORY_NAME)).release_configs
        chosen, token = page(configs, lambda config: config.name, request.page_size, request.page_token)
        return self._types.ListReleaseConfigsResponse(
            release_configs=[self._release_config(request.parent, config) for config in chosen], next_page_token=token
        )

    def get_workflow_config(self, request: Any) -> Any:
        """Return a workflow config."""
        repository = _parent_of(request.name, "workflowConfigs")
        return self._workflow_config(repository, self._state.workflow_config(repository, request.name))

    def list_workflow_configs(self, request: Any) -> Any:
        """Return a page of the workflow configs."""
        configs = self._state.repository(_check_name(request.parent, REPOSITORY_NAME)).workflow_configs
        chosen, token = page(configs, lambda config: config.name, request.page_size, request.page_token)
        return self._types.ListWorkflowConfigsResponse(
            workflow_configs=[self._workflow_config(request.parent, config) for config in chosen], next_page_token=token
        )

    def create_compilation_result(self, request: Any) -> Any:
        """Compile a commitish, a workspace or a release config; runs no SQL."""
        repository = _check_name(request.parent, REPOSITORY_NAME)
        wanted = request.compilation_result
        source = _oneof(wanted, ("git_commitish", "workspace", "release_config"))
        config = wanted.code_compilation_config
        if source[0] == "workspace":
            self._check_child(repository, source[1], "workspaces")
        if source[0] == "release_config":
            self._check_child(repository, source[1], "releaseConfigs")
            release = self._state.release_config(repository, source[1])
            if serialize(config):
                raise invalid_argument("code_compilation_config cannot be set beside release_config.")
            config = self._types.CodeCompilationConfig(vars=release.vars)
        compilation = self._state.compile(repository, source, serialize(config), _overrides(config))
        self._ledger.append(
            "dataform",
            "create_compilation_result",
            compilation.name,
            detail={
                source[0]: source[1],
                "code_compilation_config": MessageToDict(type(config).pb(config), preserving_proto_field_name=True),
                "errors": len(compilation.errors),
            },
        )
        return self._compilation(compilation)

    def get_compilation_result(self, request: Any) -> Any:
        """Return a compilation result."""
        _parent_of(request.name, "compilationResults")
        return self._compilation(self._state.compilation(request.name))

    def list_compilation_results(self, request: Any) -> Any:
        """Return a page of a repository's compilation results."""
        found = self._listed(request, self._state.compilations)
        chosen, token = page(found, lambda item: item.name, request.page_size, request.page_token)
        return self._types.ListCompilationResultsResponse(
            compilation_results=[self._compilation(item) for item in chosen], next_page_token=token
        )

    def query_compilation_result_actions(self, request: Any) -> Any:
        """Return a page of the actions that were compiled."""
        _parent_of(request.name, "compilationResults")
        actions = self._state.compilation(request.name).actions
        chosen, token = page(actions, lambda action: str(action.target), request.page_size, request.page_token)
        by_name = {action.spec.target.name: action for action in actions}
        return self._types.QueryCompilationResultActionsResponse(
            compilation_result_actions=[self._compiled_action(action, by_name) for action in chosen],
            next_page_token=token,
        )

    def create_workflow_invocation(self, request: Any) -> Any:
        """Start an invocation of a compilation result or of a workflow config."""
        repository = _check_name(request.parent, REPOSITORY_NAME)
        self._state.repository(repository)
        wanted = request.workflow_invocation
        source = _oneof(wanted, ("compilation_result", "workflow_config"))
        config = wanted.invocation_config
        if source[0] == "workflow_config":
            self._check_child(repository, source[1], "workflowConfigs")
            spec = self._state.workflow_config(repository, source[1])
            config = self._workflow_config(repository, spec).invocation_config
            release = f"{repository}/releaseConfigs/{spec.release_config}"
            variables = self._types.CodeCompilationConfig(vars=self._state.release_config(repository, release).vars)
            compilation = self._state.compile(
                repository, ("release_config", release), serialize(variables), _overrides(variables)
            )
        else:
            self._check_child(repository, source[1], "compilationResults")
            compilation = self._state.compilation(source[1])
        invocation = self._state.invoke(compilation, source, serialize(config), _selection(config))
        self._ledger.append(
            "dataform",
            "create_workflow_invocation",
            invocation.name,
            detail={
                source[0]: source[1],
                "invocation_config": type(config).to_dict(config, use_integers_for_enums=False),
                "actions": [str(planned.action.target) for planned in invocation.actions],
            },
        )
        return self._invocation(invocation, self._timers.now())

    def get_workflow_invocation(self, request: Any) -> Any:
        """Return an invocation as it is now."""
        _parent_of(request.name, "workflowInvocations")
        return self._invocation(self._state.invocation(request.name), self._timers.now())

    def list_workflow_invocations(self, request: Any) -> Any:
        """Return a page of a repository's invocations, the newest first unless ``order_by`` is ``name``."""
        found = self._listed(request, self._state.invocations)
        chosen, token = page(found, lambda item: item.name, request.page_size, request.page_token)
        now = self._timers.now()
        return self._types.ListWorkflowInvocationsResponse(
            workflow_invocations=[self._invocation(item, now) for item in chosen], next_page_token=token
        )

    def cancel_workflow_invocation(self, request: Any) -> Any:
        """Ask a running invocation to end: CANCELING, then CANCELLED."""
        _parent_of(request.name, "workflowInvocations")
        invocation = self._state.invocation(request.name)
        self._state.cancel(invocation)
        self._ledger.append("dataform", "cancel_workflow_invocation", invocation.name)
        return self._types.CancelWorkflowInvocationResponse()

    def delete_workflow_invocation(self, request: Any) -> Any:
        """Forget an invocation that has ended."""
        _parent_of(request.name, "workflowInvocations")
        invocation = self._state.invocation(request.name)
        self._state.delete(invocation)
        self._ledger.append("dataform", "delete_workflow_invocation", invocation.name)
        return empty_pb2.Empty()

    def query_workflow_invocation_actions(self, request: Any) -> Any:
        """Return a page of an invocation's actions as they are now."""
        _parent_of(request.name, "workflowInvocations")
        invocation = self._state.invocation(request.name)
        chosen, token = page(
            invocation.actions, lambda planned: str(planned.action.target), request.page_size, request.page_token
        )
        now = self._timers.now()
        return self._types.QueryWorkflowInvocationActionsResponse(
            workflow_invocation_actions=[self._action(invocation, planned, now) for planned in chosen],
            next_page_token=token,
        )

    def _listed(self, request: Any, resources: dict[str, Any]) -> list[Any]:
        self._state.repository(_check_name(request.parent, REPOSITORY_NAME))
        if request.filter:
            raise invalid_argument("This emulator does not evaluate filter; filter in the client.")
        found = [item for item in resources.values() if item.repository == request.parent]
        order = request.order_by.split()
        if not order:
            return found[::-1]
        if order[0] != "name" or order[1:] not in ([], ["asc"], ["desc"]):
            raise invalid_argument(f"order_by only supports name, not {request.order_by!r}.")
        return sorted(found, key=lambda item: str(item.name), reverse=order[1:] == ["desc"])

    def _check_child(self, repository: str, name: str, collection: str) -> None:
        if _parent_of(name, collection) != repository:
            raise invalid_argument(f"{name} does not belong to the parent {repository}.")

    def _release_config(self, repository: str, spec: ReleaseConfigSpec) -> Any:
        return self._types.ReleaseConfig(
            name=f"{repository}/releaseConfigs/{spec.name}",
            git_commitish=spec.git_commitish,
            code_compilation_config={"vars": spec.vars},
        )

    def _workflow_config(self, repository: str, spec: WorkflowConfigSpec) -> Any:
        return self._types.WorkflowConfig(
            name=f"{repository}/workflowConfigs/{spec.name}",
            release_config=f"{repository}/releaseConfigs/{spec.release_config}",
            invocation_config={
                "included_targets": [{"name": name} for name in spec.included_targets],
                "included_tags": spec.included_tags,
                "transitive_dependencies_included": spec.transitive_dependencies_included,
                "transitive_dependents_included": spec.transitive_dependents_included,
            },
        )

    def _compilation(self, compilation: Compilation) -> Any:
        return self._types.CompilationResult(
            {compilation.source[0]: compilation.source[1]},
            name=compilation.name,
            code_compilation_config=self._types.CodeCompilationConfig.deserialize(compilation.config),
            resolved_git_commit_sha="" if compilation.source[0] == "workspace" else compilation.commit_sha,
            dataform_core_version=DATAFORM_CORE_VERSION,
            compilation_errors=[{"message": error.message, "path": error.path} for error in compilation.errors],
            create_time=compilation.created_at,
        )

    def _compiled_action(self, action: CompiledAction, by_name: dict[str, CompiledAction]) -> Any:
        spec = action.spec
        columns = [{"path": name.split("."), "description": text} for name, text in spec.columns.items()]
        details: dict[str, Any] = {"relation_descriptor": {"description": spec.description, "columns": columns}}
        if spec.kind != "declaration":
            parents = [_target(by_name[name].target) for name in spec.depends_on]
            details |= {"dependency_targets": parents, "disabled": spec.disabled, "tags": spec.tags}
        own: dict[str, dict[str, Any]] = {"relation": {"relation_type": "TABLE"}, "operations": {"has_output": spec.has_output}}
        return self._types.CompilationResultAction(
            {spec.kind: {**details, **own.get(spec.kind, {})}},
            target=_target(action.target),
            canonical_target=_target(action.canonical_target),
            file_path=f"definitions/{spec.target.name}.sqlx",
        )

    def _invocation(self, invocation: Invocation, now: datetime) -> Any:
        ended_at = invocation.ended_at(now)
        return self._types.WorkflowInvocation(
            {invocation.source[0]: invocation.source[1]},
            name=invocation.name,
            invocation_config=self._types.InvocationConfig.deserialize(invocation.config),
            state=invocation.state(now),
            invocation_timing={"start_time": invocation.timeline.started_at, "end_time": ended_at},
            resolved_compilation_result=invocation.compilation,
        )

    def _action(self, invocation: Invocation, planned: PlannedAction, now: datetime) -> Any:
        state = state_at(planned, invocation.timeline, now)
        message = self._types.WorkflowInvocationAction(
            target=_target(planned.action.target),
            canonical_target=_target(planned.action.canonical_target),
            state=state,
            failure_reason=planned.failure_reason if state == "FAILED" else "",
        )
        began = invocation.timeline.started_at + planned.starts
        if state in ("RUNNING", "SUCCEEDED", "FAILED") or (state == "CANCELLED" and began < invocation.timeline.ends_at):
            ended = {
                "SUCCEEDED": invocation.timeline.started_at + planned.ends,
                "FAILED": invocation.timeline.started_at + planned.ends,
                "CANCELLED": invocation.timeline.ends_at,
            }.get(state)
            message.invocation_timing = {"start_time": began, "end_time": ended}
            job = f"dataform-{invocation.name.rpartition('/')[2]}-{planned.action.spec.target.name}"
            message.bigquery_action = {
                "sql_script": f"-- definitions/{planned.action.spec.target.name}.sqlx",
                "job_id": job,
            }
        return message


def _check_name(name: str, pattern: str) -> str:
    if not re.fullmatch(pattern, name):
        raise invalid_argument(f"Invalid resource name {name!r}: it must match {pattern}.")
    return name


def _parent_of(name: str, collection: str) -> str:
    """Return the repository of a resource name like ``{repository}/{collection}/{id}``."""
    _check_name(name, REPOSITORY_NAME[:-1] + f"/{collection}/[^/]+$")
    return name.rsplit("/", 2)[0]


def _oneof(message: Any, fields: tuple[str, ...]) -> tuple[str, str]:
    for name in fields:
        if value := getattr(message, name):
            return name, str(value)
    raise invalid_argument(f"One of {', '.join(fields)} must be set.")


def _target(target: Target) -> dict[str, str]:
    return {"database": target.database, "schema": target.schema, "name": target.name}


def _overrides(config: Any) -> Overrides:
    return Overrides(**{field: str(getattr(config, field)) for field in _CONFIG_FIELDS})


def _selection(config: Any) -> Selection:
    return Selection(
        tuple(Target(target.database, target.schema, target.name) for target in config.included_targets),
        tuple(config.included_tags),
        config.transitive_dependencies_included,
        config.transitive_dependents_included,
    )
