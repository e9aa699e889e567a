"""What may be asked of Dataform, and what goes together: one set of rules for operators and rows. No Airflow."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from provider.exceptions import ConfigurationError
from provider.plain_data import exactly_one
from provider.texts import quoted

#: What is compiled or run: exactly one of these is given.
SOURCES = ("git_commitish", "workspace", "release_config", "workflow_config")
#: What overrides the project's own settings in a compilation.
COMPILATION = ("vars", "compilation_config")
#: What an invocation selects, and how it runs: the fields of ``InvocationConfig``.
INVOCATION = (
    "included_targets",
    "included_tags",
    "transitive_dependencies_included",
    "transitive_dependents_included",
    "fully_refresh_incremental_tables_enabled",
    "service_account",
    "query_priority",
)
#: The fields of ``CodeCompilationConfig`` that ``compilation_config`` may have; ``vars`` is a parameter of its own.
COMPILATION_FIELDS = (
    "default_database",
    "default_schema",
    "default_location",
    "assertion_schema",
    "database_suffix",
    "schema_suffix",
    "table_prefix",
)
#: What a configuration that is kept at Dataform says itself.
_ITS_OWN = {"release_config": COMPILATION, "workflow_config": (*COMPILATION, *INVOCATION)}


def chosen_source(given: Mapping[str, Any]) -> str:
    """
    Return the name of the one source among parameters that go together.

    :raises ValueError: none is given, several are, or something that the source says itself.
    """
    source = exactly_one(given, SOURCES)
    if extra := [name for name in _ITS_OWN.get(source, ()) if given.get(name)]:
        raise ValueError(f"{source} brings its own {', '.join(extra)}; remove {'it' if len(extra) == 1 else 'them'} here")
    return source


def check_compilation_fields(config: Mapping[Any, Any]) -> None:
    """
    Check which fields a ``compilation_config`` has; not what they say, which may be a template yet.

    :raises ValueError: it has one that is not known.
    """
    if unknown := sorted(quoted(name) for name in config if name not in COMPILATION_FIELDS):
        raise ValueError(f"compilation_config has no {', '.join(unknown)}; it has {', '.join(COMPILATION_FIELDS)}")


def code_compilation_config(variables: Any, config: Any) -> dict[str, Any]:
    """
    Return the fields of ``CodeCompilationConfig``, from rendered parameters; empty where nothing is overridden.

    :raises ConfigurationError: a field is not known, or something is no text.
    """
    given = {"vars": variables or {}, "compilation_config": config or {}}
    for name, values in given.items():
        if not isinstance(values, Mapping):
            raise ConfigurationError(f"Dataform's `{name}` must be an object of texts, not {quoted(values)}.")
        if wrong := [str(key) for key, value in values.items() if not isinstance(key, str) or not isinstance(value, str)]:
            raise ConfigurationError(f"Dataform takes texts; put {', '.join(wrong)} in quotes in `{name}`.")
    try:
        check_compilation_fields(given["compilation_config"])
    except ValueError as error:
        raise ConfigurationError(f"{error}.") from error
    return dict(given["compilation_config"]) | ({"vars": dict(variables)} if variables else {})
