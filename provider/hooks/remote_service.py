"""What a service that runs jobs for us must offer, and how one is opened by its name."""

from __future__ import annotations

import importlib.metadata
from abc import ABC, abstractmethod
from collections.abc import Callable, Mapping, Sequence
from functools import cache, partial
from typing import Any, ClassVar, Generic, TypeAlias, TypeVar

from pydantic import BaseModel, ConfigDict, ValidationError

from provider.exceptions import ConfigurationError
from provider.hooks.remote_job import Intent, JobStatus, RemoteJob
from provider.hooks.wait_budget import WaitBudget
from provider.texts import quoted
from provider.threads import awithin

__all__ = ["ENTRY_POINT_GROUP", "ForeignHandle", "RemoteService"]

#: Services of other packages: entry points of this group, named as :attr:`RemoteService.name` says.
ENTRY_POINT_GROUP = "airflow_provider_cloud_accelerator.remote_services"

#: The connection id, and whatever else of the operator's parameters chooses an identity, by the parameter's name.
Connection: TypeAlias = dict[str, Any]

T = TypeVar("T")
RequestT = TypeVar("RequestT", bound=Mapping[str, Any])


class ForeignHandle(BaseModel):
    """Base of the models that a service has of its handles and intents, which come from where tasks write."""

    model_config = ConfigDict(extra="ignore", frozen=True, hide_input_in_errors=True)


class RemoteService(ABC, Generic[RequestT]):
    """
    One service, spoken to with one connection: five calls, none of which is repeated here.

    A hook becomes a service by inheriting from this too. A call that fails raises
    :class:`~provider.hooks.remote_job.RemoteCallError`, and takes no longer than :attr:`WaitBudget.call` says. The asynchronous
    forms are what a trigger uses; unless overridden they make the blocking call in a thread.
    """

    #: What the task state store and the trigger call the service.
    name: ClassVar[str]
    #: What messages call one of its jobs.
    noun: ClassVar[str]
    #: The constructor's parameters that choose connection and identity, the connection id first. Operators have parameters of
    #: the same names, among their template fields: those are what Airflow keeps of a task, and where the reconciler reads them.
    connection_fields: ClassVar[tuple[str, ...]]
    #: The connection id where an operator is given none; Airflow's hooks have it under this name.
    default_conn_name: str
    #: Models that a handle and an intent must fit if somebody else than their own task opens them.
    job_model: ClassVar[type[ForeignHandle]]
    intent_model: ClassVar[type[ForeignHandle]]

    budget: WaitBudget

    def connect(self) -> None:
        """Read the connection, so that no call has to; blocks. Nothing to do where the constructor does it."""

    @abstractmethod
    def prepare(self, request: RequestT) -> Intent:
        """
        Return what finds the job again even where its start is never answered.

        Runs before every new job, and changes nothing at the service that runs work or costs money.

        :param request: what the operator asks for, rendered.
        :raises JobBusyError: another job holds the place.
        """

    @abstractmethod
    def start(self, request: RequestT, intent: Intent) -> RemoteJob:
        """
        Start the job that *intent* was prepared for.

        :raises JobBusyError: another job holds the place.
        :raises AcceptedWithoutIdError: the service has taken the start and named no job.
        :raises RemoteCallError: with ``maybe_done`` where the job may have started nevertheless.
        """

    @abstractmethod
    def find(self, intent: Intent) -> RemoteJob | None:
        """Return the job that was started for *intent*; None where the service knows none."""

    @abstractmethod
    def status(self, job: RemoteJob) -> JobStatus:
        """
        Ask for the status of *job*. The end of a job counts even where its details cannot be read.

        :raises JobNotFoundError: the service does not know it.
        """

    @abstractmethod
    def cancel(self, job: RemoteJob) -> None:
        """
        Ask the service to cancel *job*; a job that has ended is no error.

        :raises CannotCancelError: the service cannot cancel jobs of this kind.
        """

    async def afind(self, intent: Intent) -> RemoteJob | None:
        """Do what :meth:`find` does, from an event loop."""
        return await self._in_thread(partial(self.find, intent))

    async def astatus(self, job: RemoteJob) -> JobStatus:
        """Do what :meth:`status` does, from an event loop; details may be left out."""
        return await self._in_thread(partial(self.status, job))

    async def acancel(self, job: RemoteJob) -> None:
        """Do what :meth:`cancel` does, from an event loop."""
        await self._in_thread(partial(self.cancel, job))

    async def _in_thread(self, call: Callable[[], T]) -> T:
        from provider.hooks.remote_job import RemoteCallError

        try:
            # Twice the time, since the call itself ends after once, with a better message.
            return await awithin(2 * self.budget.call, call, f"accelerator-{self.name}")
        except TimeoutError as error:
            raise RemoteCallError(f"{self.noun}: the service gave {error}.") from error

    @classmethod
    def check_job(cls, handle: Mapping[str, Any]) -> RemoteJob:
        """
        Return the parts of a handle that this service knows.

        :raises ConfigurationError: it is no handle of this service.
        """
        return _checked(cls.job_model, handle, f"The recorded {cls.noun}")

    @classmethod
    def check_intent(cls, intent: Mapping[str, Any]) -> Intent:
        """
        Return the parts of an intent that this service knows.

        :raises ConfigurationError: it is no intent of this service.
        """
        return _checked(cls.intent_model, intent, f"The recorded intent to start a {cls.noun}")


def _checked(model: type[ForeignHandle], value: Mapping[str, Any], what: str) -> dict[str, Any]:
    try:
        return model.model_validate(dict(value)).model_dump(mode="json", exclude_unset=True)
    except ValidationError as error:
        reasons = "; ".join(f"{'.'.join(str(part) for part in item['loc'])}: {item['msg']}" for item in error.errors()[:3])
        raise ConfigurationError(f"{what} is not what this service records: {reasons}.") from error


ServiceClass: TypeAlias = type[RemoteService[Any]]


@cache
def service_class(name: str) -> ServiceClass:
    """
    Return the class of the service with this name. The first time that imports the service's library.

    :raises ConfigurationError: there is none.
    """
    match name:
        case "dataform":
            from provider.hooks.dataform.hook import DataformInvocationHook

            return DataformInvocationHook
        case "powerbi":
            from provider.hooks.powerbi.hook import PowerBIHook

            return PowerBIHook
        case "bigquery":
            from provider.hooks.bigquery import BigQueryJobHook

            return BigQueryJobHook
        case "airflow":
            from provider.hooks.airflow_runs import AirflowRunsHook

            return AirflowRunsHook
    for point in importlib.metadata.entry_points(group=ENTRY_POINT_GROUP, name=name):
        found = point.load()
        if isinstance(found, type) and issubclass(found, RemoteService) and found.name == name:
            return found
    raise ConfigurationError(
        f"No remote service is called {quoted(name)} here; is the package that brings it installed on this machine? "
        f"(entry points {ENTRY_POINT_GROUP})"
    )


def open_service(name: str, connection: Connection, budget: WaitBudget) -> RemoteService[Any]:
    """
    Open a service by its name. That can block: it may import a library, and read the connection.

    :param connection: values for the service's :attr:`RemoteService.connection_fields`.
    :raises ConfigurationError: there is no such service, or the connection is wrong.
    """
    cls: Callable[..., RemoteService[Any]] = service_class(name)
    service = cls(**connection, budget=budget)
    service.connect()
    return service


def connection_key(connection: Mapping[str, Any]) -> tuple[Any, ...]:
    """Return a connection as something that can be a key of a dict."""
    return tuple(
        (name, tuple(value) if isinstance(value, Sequence) and not isinstance(value, str) else value)
        for name, value in sorted(connection.items())
    )
