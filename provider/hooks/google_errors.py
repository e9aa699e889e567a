"""What the errors of Google's clients have in common, whichever service they are of."""

from __future__ import annotations

from provider.hooks.remote_job import RemoteCallError
from provider.texts import sentence


def no_token(request: str, error: Exception) -> RemoteCallError:
    """Return the error for a ``google.auth.exceptions.GoogleAuthError``: nothing was sent."""
    return RemoteCallError(
        f"{request}: Google gave no token: {type(error).__name__}: {sentence(error)}. Check the connection's credentials.",
        retryable=bool(getattr(error, "retryable", False)),
    )
