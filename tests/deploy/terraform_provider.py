"""
A stand-in for the Terraform provider for Google Cloud: it has that one's schema, accepts what fits it, and can do nothing.

Terraform asks for the schema by gRPC (protocol 5) and judges the kit by it: names, types, what is required, what may be a
secret. It is reached by Terraform's own way for providers under test, TF_REATTACH_PROVIDERS: nothing is installed or downloaded.
"""

from __future__ import annotations

import json
import os
from collections.abc import Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from typing import Any

import grpc

from tests.deploy.google_schema import FILE

#: Terraform's numbers for how blocks are nested.
_NESTING = {"single": 1, "list": 2}
#: Calls that are answered by nothing, which is consent.
_CONSENT = ("PrepareProviderConfig", "ValidateResourceTypeConfig", "ValidateDataSourceConfig", "Configure", "Stop")


def _varint(number: int) -> bytes:
    parts = []
    while number > 0x7F:
        parts.append(number & 0x7F | 0x80)
        number >>= 7
    return bytes([*parts, number])


def _field(number: int, value: bytes | str | int) -> bytes:
    """Encode one field of a protobuf message."""
    if isinstance(value, int):
        return _varint(number << 3) + _varint(value)
    content = value.encode() if isinstance(value, str) else value
    return _varint(number << 3 | 2) + _varint(len(content)) + content


def _attribute(name: str, known: Mapping[str, Any]) -> bytes:
    encoded = _field(1, name) + _field(2, json.dumps(known["type"]))
    for number, flag in ((4, "required"), (5, "optional"), (6, "computed"), (10, "write_only")):
        if known.get(flag):
            encoded += _field(number, 1)
    return encoded


def _block(known: Mapping[str, Any]) -> bytes:
    encoded = _field(1, 1)
    for name, attribute in known["attributes"].items():
        encoded += _field(2, _attribute(name, attribute))
    for name, nested in known["blocks"].items():
        content = _field(1, name) + _field(2, _block(nested["block"])) + _field(3, _NESTING[nested["nesting"]])
        encoded += _field(3, content + _field(4, nested["min"]) + _field(5, nested["max"]))
    return encoded


def _schema(known: Mapping[str, Any]) -> bytes:
    return _field(1, 1) + _field(2, _block(known))


def _answer() -> bytes:
    """Return ``GetProviderSchema.Response``."""
    known = json.loads(FILE.read_text(encoding="utf-8"))
    own = {"attributes": {name: {"type": "string", "optional": True} for name in ("project", "region")}, "blocks": {}}
    encoded = _field(1, _schema(own))
    for number, kind in ((2, "resources"), (3, "data_sources")):
        for name, block in known[kind].items():
            encoded += _field(number, _field(1, name) + _field(2, _schema(block)))
    return encoded


@contextmanager
def google_provider() -> Iterator[dict[str, str]]:
    """Serve the provider; the value is the environment variables that lead Terraform to it."""
    answer = _answer()

    def asked(content: bytes) -> Any:
        return grpc.unary_unary_rpc_method_handler(lambda _request, _context: content)

    handlers = {"GetSchema": asked(answer), **{name: asked(b"") for name in _CONSENT}}
    server = grpc.server(ThreadPoolExecutor(4))
    server.add_generic_rpc_handlers([grpc.method_handlers_generic_handler("tfplugin5.Provider", handlers)])
    port = server.add_insecure_port("127.0.0.1:0")
    server.start()
    address = {"Network": "tcp", "String": f"127.0.0.1:{port}"}
    attach = {"Protocol": "grpc", "ProtocolVersion": 5, "Pid": os.getpid(), "Test": True, "Addr": address}
    try:
        yield {"TF_REATTACH_PROVIDERS": json.dumps({"hashicorp/google": attach})}
    finally:
        server.stop(None).wait()
