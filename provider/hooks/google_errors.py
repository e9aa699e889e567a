"""What the errors of Google's clients have in common, whichever service they are of."""

from __future__ import annotations

from typing import Any

from provider.hooks.remote_job import RemoteCallError


def line(text: Any) -> str:
    """Return a service's text as one line without a full stop, 400 characters at most."""
    return " ".join(str(text).split())[:400].rstrip(".")


def no_token(request: str, error: Exception) -> RemoteCallError:
    """Return the error for a ``google.auth.exceptions.GoogleAuthError``: nothing was sent."""
    return RemoteCallError(
        f"{request}: Google gave no token: {type(error).__name__}: {line(error)}. Check the connection's credentials.",
        retryable=bool(getattr(error, "retryable", False)),
    )
