# ruff: noqa: TID253 - gRPC is this module's subject, and only the emulators import it
"""A gRPC server on loopback whose unary methods pass through the fault rules and report errors to the ledger."""

from __future__ import annotations

import re
import threading
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import Any, NoReturn, TypeVar

import grpc

from provider.emulators.ledger import Ledger
from provider.emulators.ports import bound_socket
from provider.emulators.rules import Rule, RuleBook, Service

T = TypeVar("T")
Behaviour = Callable[[Any, grpc.ServicerContext], Any]


class GrpcStatusError(Exception):
    """The service refuses a call with a gRPC status."""

    def __init__(self, code: grpc.StatusCode, message: str) -> None:
        super().__init__(message)
        self.code = code


def not_found(message: str) -> GrpcStatusError:
    """Return the vendor's NOT_FOUND."""
    return GrpcStatusError(grpc.StatusCode.NOT_FOUND, message)


def invalid_argument(message: str) -> GrpcStatusError:
    """Return the vendor's INVALID_ARGUMENT."""
    return GrpcStatusError(grpc.StatusCode.INVALID_ARGUMENT, message)


def failed_precondition(message: str) -> GrpcStatusError:
    """Return the vendor's FAILED_PRECONDITION."""
    return GrpcStatusError(grpc.StatusCode.FAILED_PRECONDITION, message)


def snake_case(method: str) -> str:
    """Return ``create_workflow_invocation`` for ``CreateWorkflowInvocation``."""
    return re.sub(r"(?<!^)(?=[A-Z])", "_", method).lower()


def serialize(message: Any) -> bytes:
    """Serialize a proto-plus or a plain protobuf message."""
    if hasattr(message, "SerializeToString"):
        return bytes(message.SerializeToString())
    return bytes(type(message).serialize(message))


class FaultingCalls:
    """
    Wraps a service's methods: rules first, then the work, then errors as gRPC status.

    A lost connection is ``UNAVAILABLE: Socket closed``, which is what a client sees of one: gRPC's server API has no
    way to close a single client's transport.

    :param stopping: set when the server shuts down; ends delays early.
    """

    def __init__(self, service: Service, rules: RuleBook, ledger: Ledger, stopping: threading.Event) -> None:
        self.service = service
        self.rules = rules
        self.ledger = ledger
        self.stopping = stopping

    def unary(self, method: str, request_type: Any, behaviour: Behaviour) -> grpc.RpcMethodHandler:
        """Return the handler of a unary method."""

        def call(request: Any, context: grpc.ServicerContext) -> Any:
            rule = self.rules.strike(self.service, method)
            if rule and rule.when == "before":
                self.strike(rule, method, context)
            try:
                response = behaviour(request, context)
            except GrpcStatusError as error:
                resource = getattr(request, "name", "") or getattr(request, "parent", "")
                self.ledger.append(
                    self.service,
                    snake_case(method),
                    str(resource),
                    detail={"message": str(error)},
                    outcome=error.code.name,
                )
                context.abort(error.code, str(error))
            if rule and rule.when == "after":
                self.strike(rule, method, context)
            return response

        return grpc.unary_unary_rpc_method_handler(
            call, request_deserializer=deserializer(request_type), response_serializer=serialize
        )

    def strike(self, rule: Rule, method: str, context: grpc.ServicerContext) -> None:
        """Do what a rule says: wait, or abort the call."""
        self.ledger.append(self.service, "fault", method, detail={"fault": rule.fault, "when": rule.when}, outcome=rule.fault)
        if rule.fault == "delay":
            self.stopping.wait(rule.seconds)
        elif rule.fault == "drop":
            self._abort(context, grpc.StatusCode.UNAVAILABLE, "Socket closed")
        else:
            if rule.retry_after is not None:
                context.set_trailing_metadata((("retry-after", str(rule.retry_after)),))
            assert rule.grpc_status is not None, "the rule's own validation"
            self._abort(context, grpc.StatusCode[rule.grpc_status], rule.message)

    @staticmethod
    def _abort(context: grpc.ServicerContext, code: grpc.StatusCode, message: str) -> NoReturn:
        context.abort(code, message)
        raise AssertionError("grpc's abort always raises")


def deserializer(message_type: Any) -> Callable[[bytes], Any]:
    """Return the parser of a proto-plus or a plain protobuf type."""
    parse: Callable[[bytes], Any] = getattr(message_type, "deserialize", None) or message_type.FromString
    return parse


def page(items: Sequence[T], key: Callable[[T], str], page_size: int, page_token: str) -> tuple[list[T], str]:
    """
    Cut one page out of a list.

    The token is the key of the page's last item, so that new items do not shift the next page.

    :return: the items and the next page's token, empty at the end.
    :raises GrpcStatusError: INVALID_ARGUMENT on a negative size or a token that names no item.
    """
    if page_size < 0:
        raise invalid_argument(f"page_size must not be negative, but is {page_size}.")
    start = 0
    if page_token:
        position = next((index for index, item in enumerate(items) if key(item) == page_token), None)
        if position is None:
            raise invalid_argument("Invalid page_token: it must come from a previous call with the same arguments.")
        start = position + 1
    end = start + min(page_size or 50, 1000)
    chosen = list(items[start:end])
    return chosen, key(chosen[-1]) if chosen and end < len(items) else ""


class GrpcServer:
    """
    A threaded gRPC server on loopback, without TLS.

    :param port: 0 takes a free one.
    :param max_workers: calls served at once; long polls and streams keep one each.
    :raises PortTakenError: the port is taken.
    """

    def __init__(self, port: int = 0, *, host: str = "127.0.0.1", max_workers: int = 32) -> None:
        self.stopping = threading.Event()
        self._server = grpc.server(
            ThreadPoolExecutor(max_workers=max_workers, thread_name_prefix="emulator-grpc"),
            options=(("grpc.so_reuseport", 0), ("grpc.max_receive_message_length", -1)),
        )
        # gRPC would write lines of its own about a port that is taken.
        bound_socket(host, port).close()
        self.port: int = self._server.add_insecure_port(f"{host}:{port}")
        self.address = f"{host}:{self.port}"

    def add(self, service_name: str, handlers: Mapping[str, grpc.RpcMethodHandler]) -> None:
        """Serve a service; methods that are not listed answer UNIMPLEMENTED."""
        self._server.add_generic_rpc_handlers((grpc.method_handlers_generic_handler(service_name, dict(handlers)),))

    def start(self) -> None:
        """Begin to serve; calls are accepted when this returns."""
        self._server.start()

    def stop(self) -> None:
        """End open calls and wait until the port is free."""
        self.stopping.set()
        self._server.stop(grace=None).wait()
