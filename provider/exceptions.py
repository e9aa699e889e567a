"""The one exception hierarchy. Every message says what is wrong, where, and what to do next."""

from __future__ import annotations

from provider.texts import one_line

__all__ = ["AcceleratorError", "ConfigurationError", "DefinitionError", "MessageError", "RemoteJobError", "SchemaOutOfDateError"]


#: Longest message of an error about a remote job, in characters.
LONGEST_MESSAGE = 10_000


class AcceleratorError(Exception):
    """Base of every error this package raises on purpose."""


class ConfigurationError(AcceleratorError):
    """A setting is missing or cannot work; the message names the setting."""


class SettingUnavailableError(ConfigurationError):
    """A setting's command or secrets backend does not give it now; it may the next time."""


class DefinitionError(AcceleratorError):
    """A workflow, task or dependency row is wrong; the message names the row."""


class MessageError(AcceleratorError):
    """A message cannot be accepted; the text is stored as the reason of the rejected request."""


class RunConfError(AcceleratorError):
    """The conf or the params of a DAG run ask for what cannot be; the message says what would be right."""


class LostLeadError(AcceleratorError):
    """Another process leads now; what this one was about to write is the other's to write."""

    def __init__(self) -> None:
        super().__init__("another reconciler leads now; this one was silent for too long.")


class SchemaOutOfDateError(AcceleratorError):
    """The application database has another schema than this version needs."""


class RemoteJobError(AcceleratorError):
    """
    A call to a remote service failed, or its job ended without success.

    :param message: one line: status, error code, first reasons, what to do.
    :param retryable: False where trying again without a change cannot help (bad credentials, daily limit, bad request).
    """

    def __init__(self, message: str, *, retryable: bool = True) -> None:
        # What services say is part of it: no control characters, nothing that a database does not take.
        super().__init__(one_line(message, LONGEST_MESSAGE))
        self.retryable = retryable


class UnseenError(Exception):
    """
    What is asked about, such as Airflow, cannot be looked at.

    :param remedy: what to do so that it can.
    """

    def __init__(self, why: str, remedy: str) -> None:
        super().__init__(why)
        self.remedy = remedy
