"""Fault injection: rules that say which calls are delayed, refused, or lose their connection."""

from __future__ import annotations

import random
import threading
from fnmatch import fnmatchcase
from typing import Any, Literal, Self

from pydantic import BaseModel, ConfigDict, Field, model_validator

Service = Literal["dataform", "powerbi", "entra", "pubsub"]
GrpcStatus = Literal[
    "CANCELLED",
    "UNKNOWN",
    "INVALID_ARGUMENT",
    "DEADLINE_EXCEEDED",
    "NOT_FOUND",
    "ALREADY_EXISTS",
    "PERMISSION_DENIED",
    "RESOURCE_EXHAUSTED",
    "FAILED_PRECONDITION",
    "ABORTED",
    "OUT_OF_RANGE",
    "UNIMPLEMENTED",
    "INTERNAL",
    "UNAVAILABLE",
    "DATA_LOSS",
    "UNAUTHENTICATED",
]


class Rule(BaseModel):
    """
    One fault and the calls it hits.

    :param match: shell pattern on the operation: the RPC's name for Dataform and Pub/Sub
        (``CreateWorkflowInvocation``), ``METHOD /path`` for Power BI and Entra ID (``POST */refreshes``).
    :param nth: the first matching call that is hit, counted from 1 since the rule was added.
    :param probability: hit that share of the matching calls instead, decided by ``seed``.
    :param times: how many calls are hit; None: all.
    :param fault: ``delay``: wait ``seconds``; ``status``: answer ``http_status`` or ``grpc_status``; ``drop``: lose the
        connection.
    :param when: ``before`` the work is done, or ``after`` it: then the service did it and the caller does not know.
    :param retry_after: seconds, sent as ``Retry-After`` (HTTP) or ``retry-after`` trailing metadata (gRPC).
    """

    model_config = ConfigDict(extra="forbid", frozen=True)

    service: Service
    match: str = "*"
    nth: int = Field(default=1, ge=1)
    probability: float | None = Field(default=None, gt=0, le=1)
    seed: int = 0
    times: int | None = Field(default=1, ge=1)
    fault: Literal["delay", "status", "drop"]
    when: Literal["before", "after"] = "before"
    seconds: float = Field(default=0.0, ge=0)
    http_status: int | None = Field(default=None, ge=400, le=599)
    grpc_status: GrpcStatus | None = None
    message: str = "Injected by an emulator rule."
    body: dict[str, Any] | str | None = None
    headers: dict[str, str] = {}
    retry_after: int | None = Field(default=None, ge=0)

    @model_validator(mode="after")
    def _fault_is_complete(self) -> Self:
        if self.fault == "delay" and not self.seconds:
            raise ValueError("a delay needs seconds > 0")
        if self.fault == "status":
            wanted = "http_status" if self.service in ("powerbi", "entra") else "grpc_status"
            if getattr(self, wanted) is None:
                raise ValueError(f"a status fault of {self.service} needs {wanted}")
        return self


class _Counter:
    """A rule and what it has done so far."""

    def __init__(self, rule: Rule) -> None:
        self.rule = rule
        self.seen = 0
        self.hits = 0
        self.random = random.Random(rule.seed)  # noqa: S311 - reproducible faults, no cryptography

    def count(self) -> bool:
        """Count a call and return whether it is due to be hit."""
        self.seen += 1
        if self.rule.times is not None and self.hits >= self.rule.times:
            return False
        if self.seen < self.rule.nth:
            return False
        return self.rule.probability is None or self.random.random() < self.rule.probability


class RuleBook:
    """The rules in force. Thread-safe."""

    def __init__(self, rules: list[Rule] | None = None) -> None:
        self._lock = threading.Lock()
        self._next_id = 1
        self._counters: dict[int, _Counter] = {}
        for rule in rules or []:
            self.add(rule)

    def add(self, rule: Rule) -> int:
        """Put a rule in force and return its id."""
        with self._lock:
            rule_id = self._next_id
            self._next_id += 1
            self._counters[rule_id] = _Counter(rule)
            return rule_id

    def remove(self, rule_id: int) -> bool:
        """Take a rule out of force; return whether there was one."""
        with self._lock:
            return self._counters.pop(rule_id, None) is not None

    def clear(self) -> None:
        """Take all rules out of force."""
        with self._lock:
            self._counters.clear()

    def describe(self) -> list[dict[str, Any]]:
        """Return the rules with how many calls each saw and hit."""
        with self._lock:
            return [
                {"id": rule_id, "seen": counter.seen, "hits": counter.hits, **counter.rule.model_dump()}
                for rule_id, counter in self._counters.items()
            ]

    def strike(self, service: Service, operation: str) -> Rule | None:
        """
        Count a call and return the rule that hits it.

        Every matching rule counts the call; the first one that is due hits it.
        """
        struck: Rule | None = None
        with self._lock:
            for counter in self._counters.values():
                rule = counter.rule
                if rule.service != service or not fnmatchcase(operation, rule.match):
                    continue
                if counter.count() and struck is None:
                    counter.hits += 1
                    struck = rule
        return struck
