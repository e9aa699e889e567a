"""
What is public: what others may import, and what does not change without a word in CHANGELOG.md.

Everything else is ours to move. A module that is listed here says the same in its ``__all__``.
"""

from __future__ import annotations

import ast
import re
from importlib import import_module
from pathlib import Path

import pytest

from provider import get_provider_info

ROOT = Path(__file__).parents[1]
#: Module → its public names.
PUBLIC: dict[str, set[str]] = {
    "provider": {"__version__", "get_provider_info"},
    "provider.exceptions": {
        "AcceleratorError",
        "ConfigurationError",
        "DefinitionError",
        "MessageError",
        "RemoteJobError",
        "SchemaOutOfDateError",
    },
    # Operators and sensors
    "provider.operators.bigquery": {"BigQueryLoadOperator"},
    "provider.operators.bigquery_check": {"BigQueryDataCheckOperator"},
    "provider.operators.bigquery_query": {"BigQueryQueryOperator"},
    "provider.operators.condition": {"Condition"},
    "provider.operators.dataform": {"DataformWorkflowInvocationOperator"},
    "provider.operators.alerts": {"SendAlertsOperator"},
    "provider.operators.dispatch": {"DispatchBatchRequestsOperator", "DispatchDueRequestsOperator"},
    "provider.operators.gcs": {"GCSArchiveOperator", "GCSCopyOperator", "GCSDeleteOperator"},
    "provider.operators.http": {"HttpRequestOperator"},
    "provider.operators.pubsub": {"PubSubPublishOperator"},
    "provider.operators.remote_job": {"RemoteJobOperator"},
    "provider.operators.powerbi": {"PowerBIDataflowRefreshOperator", "PowerBISemanticModelRefreshOperator"},
    "provider.operators.run_workflow": {"RunWorkflowOperator"},
    "provider.operators.task_batch": {"ScopeGuard", "StartBatchOperator"},
    "provider.operators.wait_for_workflow": {"WaitForWorkflowOperator"},
    "provider.sensors.completion": {"TaskCompletionSensor"},
    "provider.sensors.pubsub": {"PubSubBatchRequestSensor"},
    # Hooks, and what they answer
    "provider.hooks.bigquery": {"BigQueryJobHook"},
    "provider.hooks.dataform.hook": {"DataformInvocationHook"},
    "provider.hooks.http_call": {"http_call"},
    "provider.hooks.powerbi.enhanced_refresh": {"EnhancedRefresh", "RefreshObject"},
    "provider.hooks.addresses": {"check_private", "connection_address", "is_private"},
    "provider.hooks.airflow_api": {"AirflowApi", "AirflowApiHook", "AirflowApiSettings", "api_path"},
    "provider.hooks.airflow_runs": {"AirflowRunsHook"},
    "provider.hooks.paths": {"PathPart", "path"},
    "provider.hooks.powerbi.hook": {"PowerBIHook"},
    "provider.hooks.remote_job": {
        "AcceptedWithoutIdError",
        "CannotCancelError",
        "Intent",
        "JobBusyError",
        "JobNotFoundError",
        "JobStatus",
        "RemoteCallError",
        "RemoteJob",
    },
    "provider.hooks.remote_service": {"ENTRY_POINT_GROUP", "ForeignHandle", "RemoteService"},
    "provider.hooks.wait_budget": {"WaitBudget"},
    # Triggers and links
    "provider.triggers.alerts": {"AlertsDueTrigger"},
    "provider.triggers.completion": {"TaskCompletionTrigger"},
    "provider.reconciler.operator": {"ReconcileOperator"},
    "provider.reconciler.trigger": {"ReconcilerTrigger"},
    "provider.triggers.remote_job": {"RemoteJobTrigger"},
    "provider.triggers.pubsub": {"PubSubInboxTrigger"},
    "provider.links": {"BigQueryJobLink", "DataformInvocationLink", "PowerBILink", "RemoteJobLink"},
    # What queries and alerts of one's own need
    "provider.metadata.engine": {"read_session"},
    "provider.metadata.request_queue": {"oldest_waiting_since"},
    # What DAG files, and task types of other packages, need
    "dag_factory.factory": {"build_dags", "raise_definition_errors"},
    "dag_factory.specs": {"TaskOptions"},
    "dag_factory.task_types": {
        "OperatorCall",
        "TaskConfig",
        "TaskType",
        "Templated",
        "operator_arguments",
    },
    "dag_factory.task_types.common": {"REMOTE_JOB_DEFAULTS", "RemoteJobConfig"},
    "dag_factory.task_types.registry": {"ENTRY_POINT_GROUP"},
    "dag_factory.templates": {"to_airflow"},
}
#: What our own thin DAG files use beside that: they come with the package, and change with it.
OF_OUR_DAG_FILES = {"provider.settings", "provider.cli.maintenance", "provider.cli.maintenance.form"}


@pytest.mark.parametrize("module", PUBLIC)
def test_a_module_says_what_of_it_is_public(module: str) -> None:
    found = import_module(module)

    assert set(found.__all__) == PUBLIC[module]
    assert [name for name in PUBLIC[module] if not hasattr(found, name)] == []
    assert list(found.__all__) == sorted(found.__all__)


def test_no_other_module_has_public_names() -> None:
    files = [path for folder in ("provider", "dag_factory") for path in (ROOT / folder).rglob("*.py")]
    with_list = {path for path in files if re.search(r"^__all__\b", path.read_text(encoding="utf-8"), re.MULTILINE)}
    # The door hands on Airflow's own names, which is said in the same way.
    with_list -= set((ROOT / "provider" / "airflow_internals").glob("*.py"))
    names = {".".join(path.relative_to(ROOT).with_suffix("").parts).removesuffix(".__init__") for path in with_list}

    assert names == PUBLIC.keys()


def test_all_that_airflow_is_told_of_is_public() -> None:
    info = get_provider_info()
    groups = [group for kind in ("operators", "sensors", "hooks", "triggers") for group in info[kind]]
    links = {link.rpartition(".")[0] for link in info["extra-links"]}
    connections = {kind["hook-class-name"].rpartition(".")[0] for kind in info["connection-types"]}

    assert {module for group in groups for module in group["python-modules"]} | links | connections <= PUBLIC.keys()


def test_a_public_class_or_function_has_a_docstring() -> None:
    for module, names in PUBLIC.items():
        for name in names:
            value = getattr(import_module(module), name)
            if getattr(value, "__module__", None) == module:  # no constant, no alias
                assert value.__doc__, f"{module}.{name}"


@pytest.mark.parametrize("folder", ["dags", "examples", "docs", "."])
def test_examples_and_pages_import_public_names_alone(folder: str) -> None:
    modules = () if folder == "." else (ROOT / folder).rglob("*.py")
    texts = [path.read_text(encoding="utf-8") for path in modules]
    for path in (ROOT / folder).glob("*.md"):
        texts += re.findall(r"```python\n(.*?)```", path.read_text(encoding="utf-8"), re.DOTALL)

    private = {name for text in texts for name in _imported(text) if not _is_public(name)}
    assert private - (OF_OUR_DAG_FILES if folder == "dags" else set()) == set()


def _imported(text: str) -> set[str]:
    """Return what a text imports of ours, as dotted names."""
    found = [node for node in ast.walk(ast.parse(text)) if isinstance(node, ast.ImportFrom) and node.module]
    names = {f"{node.module}.{alias.name}" for node in found for alias in node.names}
    return {name for name in names if name.split(".")[0] in ("provider", "dag_factory")}


def _is_public(name: str) -> bool:
    module, _, attribute = name.rpartition(".")
    return attribute in PUBLIC.get(module, set())
