from __future__ import annotations

import importlib
import json
from importlib.metadata import entry_points, version
from importlib.resources import files
from typing import Any

import jsonschema
import pytest

import provider
from provider import get_provider_info, settings
from provider.hooks.airflow_api import AirflowApiHook
from provider.hooks.powerbi.hook import PowerBIHook

INFO = get_provider_info()
KINDS = ("operators", "sensors", "hooks", "triggers")
MODULES = sorted({module for kind in KINDS for row in INFO[kind] for module in row["python-modules"]})
OBJECTS = [*INFO["extra-links"], *INFO["cli"], *[row["hook-class-name"] for row in INFO["connection-types"]]]


def load(path: str) -> Any:
    module, _, name = path.rpartition(".")
    return getattr(importlib.import_module(module), name)


def test_it_is_what_airflow_accepts() -> None:
    schema = json.loads(files("airflow").joinpath("provider_info.schema.json").read_text())
    jsonschema.validate(INFO, schema)


@pytest.mark.parametrize("module", MODULES)
def test_every_module_exists(module: str) -> None:
    importlib.import_module(module)


@pytest.mark.parametrize("path", OBJECTS)
def test_every_class_and_function_exists(path: str) -> None:
    assert callable(load(path))


def test_integrations_are_declared() -> None:
    declared = {row["integration-name"] for row in INFO["integrations"]}
    assert {row["integration-name"] for kind in KINDS for row in INFO[kind]} <= declared


def test_the_connection_forms_have_every_extra_that_the_hooks_read() -> None:
    forms = {form["connection-type"]: set(form["conn-fields"]) for form in INFO["connection-types"]}
    assert forms == {
        PowerBIHook.conn_type: {
            *("tenant_id", "auth", "cloud", "certificate_path", "authority", "portal_url", "ca_file", "profile_id"),
        },
        AirflowApiHook.conn_type: {"gcp_conn_id", "impersonation_chain", "ca_file", "allow_http"},
    }


def test_a_choice_in_a_connection_form_is_made_already() -> None:
    """Airflow's form shows one without a default as "null"."""
    fields = [field["schema"] for form in INFO["connection-types"] for field in form["conn-fields"].values()]
    choices = [schema for schema in fields if "enum" in schema]
    assert [schema["default"] for schema in choices] == ["client_secret", "public"]
    assert all(schema["default"] in schema["enum"] and None not in schema["enum"] for schema in choices)


def test_entry_points_of_the_installed_package_lead_here() -> None:
    # Every provider uses the same name, and a checkout has metadata of its own beside the installed one's.
    ours = [found for found in entry_points(group="apache_airflow_provider") if found.module == "provider"]
    assert {found.load() for found in ours} == {get_provider_info}
    plugins = {found.load() for found in entry_points(group="airflow.plugins", name="cloud_accelerator")}
    assert [plugin.name for plugin in plugins] == ["cloud_accelerator"]


def test_version_is_that_of_the_package() -> None:
    assert provider.__version__ == version("airflow-provider-cloud-accelerator")


def test_every_option_has_a_description() -> None:
    assert all(option["description"] for option in settings.OPTIONS.values())
