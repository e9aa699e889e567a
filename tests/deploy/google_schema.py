"""
Makes ``google_schema.json``: what of the Terraform provider for Google Cloud the kit uses, as that provider would tell Terraform.

The provider itself is a download that not every machine can make. Its schema is in the package cdktf-cdktf-provider-google
too, in ``_jsii/*.tgz`` as ``package/.jsii``, from where this program takes it::

    python -m tests.deploy.google_schema path/to/.jsii

Run it again where the kit uses another kind of resource; :data:`RESOURCES` and :data:`DATA_SOURCES` name them.
"""

from __future__ import annotations

import json
import re
import sys
from pathlib import Path
from typing import Any

FILE = Path(__file__).parent / "google_schema.json"
PACKAGE = "@cdktf/provider-google."
RESOURCES = (
    "bigquery_dataset_iam_member",
    "composer_environment",
    "compute_global_address",
    "project_iam_member",
    "project_service",
    "pubsub_subscription",
    "pubsub_subscription_iam_member",
    "pubsub_topic",
    "pubsub_topic_iam_member",
    "secret_manager_secret",
    "secret_manager_secret_iam_member",
    "secret_manager_secret_version",
    "service_account",
    "service_account_iam_member",
    "service_networking_connection",
    "sql_database",
    "sql_database_instance",
    "sql_user",
    "storage_bucket_iam_member",
    "storage_notification",
)
DATA_SOURCES = ("composer_environment", "project", "service_account", "storage_project_service_account")

Types = dict[str, Any]
_PRIMITIVES = {"string": "string", "number": "number", "boolean": "bool"}


def snake(name: str) -> str:
    """Return the name that Terraform knows: ``maxCount`` → ``max_count``, ``ipv4Enabled`` → ``ipv4_enabled``."""
    return re.sub(r"(?<=[a-z0-9])(?=[A-Z])", "_", name).lower()


def camel(name: str) -> str:
    first, *rest = name.split("_")
    return first + "".join(part.capitalize() for part in rest)


def schema_of(types: Types, namespace: str) -> dict[str, Any]:
    """Return the block of a resource or data source."""
    name = namespace[0].upper() + namespace[1:]
    prefix = f"{PACKAGE}{namespace}."
    config = types[f"{prefix}{name}Config"]
    return _block(types, config, types[prefix + name], root=True)


def _block(types: Types, struct: Any, made: Any, *, root: bool = False) -> dict[str, Any]:
    attributes: dict[str, Any] = {}
    blocks: dict[str, Any] = {}
    for entry in struct.get("properties", []):
        name, type_ = _name(entry), entry["type"]
        nested = _struct(types, type_)
        if nested is None:
            attributes[name] = {"type": _type(type_), "optional" if entry.get("optional") else "required": True}
            if name.endswith("_wo"):
                attributes[name]["write_only"] = True
        else:
            many = "union" in type_ or "collection" in type_
            blocks[name] = {
                "nesting": "single" if name == "timeouts" else "list",
                "max": 0 if many or name == "timeouts" else 1,
                "min": 0 if entry.get("optional") or name == "timeouts" else 1,
                "block": _block(types, nested, types.get(f"{nested['fqn']}OutputReference", {})),
            }
    for entry in made.get("properties", []):
        name = _name(entry)
        computed = entry.get("immutable") and not entry.get("static") and name not in attributes and name not in blocks
        if computed and name not in ("fqn", "internal_value") and not name.endswith("_input"):
            attributes[name] = {"type": _computed_type(types, entry["type"]), "computed": True}
    if root:
        attributes["id"] = {"type": "string", "optional": True, "computed": True}
    return {"attributes": dict(sorted(attributes.items())), "blocks": dict(sorted(blocks.items()))}


def _name(entry: Any) -> str:
    found = re.search(r"/docs/(?:resources|data-sources)/\w+#(\w+) ", entry.get("docs", {}).get("remarks", ""))
    return found[1] if found else snake(entry["name"])


def _struct(types: Types, type_: Any) -> Any:
    """Return the struct that a property is, or is a list of; None for what is plain."""
    for part in [type_, *type_.get("union", {}).get("types", [])]:
        part = part.get("collection", {}).get("elementtype", part)
        if (fqn := part.get("fqn", "")).startswith(PACKAGE) and types[fqn]["kind"] == "interface":
            return types[fqn]
    return None


def _type(type_: Any) -> Any:
    parts = [type_, *type_.get("union", {}).get("types", [])]
    for part in parts:
        if part.get("primitive") in _PRIMITIVES:
            return _PRIMITIVES[part["primitive"]]
        if "collection" in part:
            kind = "map" if part["collection"]["kind"] == "map" else "list"
            return [kind, _type(part["collection"]["elementtype"])]
    return "string"


def _computed_type(types: Types, type_: Any) -> Any:
    fqn = type_.get("fqn", "")
    if fqn.startswith(PACKAGE) and fqn.endswith("List"):
        item = types[f"{fqn.removesuffix('List')}OutputReference"]
        fields = {_name(entry): _computed_type(types, entry["type"]) for entry in item["properties"]}
        return ["list", ["object", {name: kind for name, kind in fields.items() if name not in ("internal_value", "fqn")}]]
    if fqn in ("cdktf.StringMap", "cdktf.IResolvable"):
        return ["map", "string"] if fqn == "cdktf.StringMap" else "bool"
    return _type(type_)


def main(source: Path) -> None:
    """Write the file anew."""
    types = json.loads(source.read_text(encoding="utf-8"))["types"]
    found = {
        "provider_version": re.search(r"hashicorp/google/([0-9.]+)/", types[f"{PACKAGE}sqlUser.SqlUser"]["docs"]["summary"])[1],  # type: ignore[index]
        "resources": {f"google_{name}": schema_of(types, camel(name)) for name in RESOURCES},
        "data_sources": {f"google_{name}": schema_of(types, camel(f"data_google_{name}")) for name in DATA_SOURCES},
    }
    FILE.write_text(json.dumps(found, separators=(",", ":"), sort_keys=True) + "\n", encoding="utf-8")


if __name__ == "__main__":
    main(Path(sys.argv[1]))
