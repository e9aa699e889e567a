"""Tokens for Power BI: one per identity and process, asked for when one is needed."""

from __future__ import annotations

import asyncio
import time
from collections import deque
from collections.abc import Iterator
from dataclasses import dataclass, field
from functools import partial
from typing import TYPE_CHECKING, Any
from weakref import WeakKeyDictionary

from provider.hooks.http_call import is_token
from provider.hooks.powerbi.credentials import Issuer
from provider.hooks.remote_job import RemoteCallError
from provider.threads import LoneThread

if TYPE_CHECKING:
    from provider.hooks.powerbi.settings import PowerBISettings

#: Seconds of life a token must still have; msal renews at the same age.
TOKEN_MARGIN = 300.0
#: So many tokens that were in use before are still masked.
EARLIER_TOKENS = 100


@dataclass
class KeptToken:
    """
    The last token of an identity.

    :param earlier: those before, which error pages may still show; a token lives for a day at most, and is renewed every hour.
    """

    value: str = field(default="", repr=False)
    earlier: deque[str] = field(default_factory=lambda: deque(maxlen=EARLIER_TOKENS), repr=False)
    expires_at: float = 0.0


class TokenSources:
    """The token sources of a process: one for each identity and event loop, those of all loops with one token."""

    def __init__(self) -> None:
        self._kept: dict[PowerBISettings, KeptToken] = {}
        self._of_loop: WeakKeyDictionary[asyncio.AbstractEventLoop, dict[PowerBISettings, TokenSource]] = WeakKeyDictionary()

    def source(self, settings: PowerBISettings) -> TokenSource:
        """Return the token source for *settings* of the running event loop."""
        sources = self._of_loop.setdefault(asyncio.get_running_loop(), {})
        if settings not in sources:
            sources[settings] = TokenSource(settings, self._kept.setdefault(settings, KeptToken()))
        return sources[settings]

    def __iter__(self) -> Iterator[TokenSource]:
        return iter([source for sources in self._of_loop.values() for source in sources.values()])


class TokenSource:
    """
    Asks Entra ID for tokens, and keeps the last one.

    Msal blocks, so it is called in a thread, and by one caller at a time: whoever comes while it is called waits for the same
    answer, a failure included. A thousand cold callers ask once. A call that got no answer in time is broken off, and no other
    begins before it has ended: however long Entra ID is silent, there is one thread.

    :param settings: identity and authority.
    :param kept: the last token; none, unless given.
    """

    def __init__(self, settings: PowerBISettings, kept: KeptToken | None = None) -> None:
        self._settings = settings
        self._issuer = Issuer(settings)
        self._thread = LoneThread("accelerator-entra")
        self._kept = kept or KeptToken()
        self._asking: asyncio.Task[str] | None = None

    async def token(self, seconds: float) -> str:
        """
        Return a token that is good for a while.

        :param seconds: longest wait for Entra ID.
        :raises RemoteCallError: Entra ID gave none.
        :raises ConfigurationError: the certificate cannot be read.
        """
        if time.time() < self._kept.expires_at - TOKEN_MARGIN:
            return self._kept.value
        if self._asking is None or self._asking.done():
            self._asking = asyncio.create_task(self._ask(seconds))
        return await asyncio.shield(self._asking)

    async def renewed(self, rejected: str, seconds: float) -> str:
        """Return another token than *rejected*, which the service calls expired; callers that come late share it."""
        if self._kept.value == rejected and self._kept.expires_at:
            self._kept.expires_at = 0.0
            self._issuer.forget()
        return await self.token(seconds)

    def mask(self, text: str) -> str:
        """Return a text without the tokens, which proxies repeat in their error pages."""
        for token in filter(None, (self._kept.value, *self._kept.earlier)):
            text = text.replace(token, "***")
        return text

    async def _ask(self, seconds: float) -> str:
        try:
            answer: dict[str, Any] = await self._thread.within(seconds, partial(self._issuer.issue, seconds))
        except TimeoutError as error:
            # The call that hangs ends with its connections. One that looks up a name has none, and is waited for the next time.
            self._issuer.break_off()
            self._issuer = Issuer(self._settings)
            raise RemoteCallError(f"{self._issuer} gave no token: {error}.") from error
        value, seconds_to_live = answer["access_token"], answer.get("expires_in", 0)
        try:
            expires_at = time.time() + float(seconds_to_live)
            usable = is_token(value)
        except (TypeError, ValueError):
            usable = False
        if not usable:  # in a header it would be an error that shows it
            self._issuer.forget()  # msal would give the same one again
            raise RemoteCallError(f"{self._issuer} gave no token: its answer is none that can be sent.")
        kept = self._kept
        if kept.value and kept.value != value:
            kept.earlier.append(kept.value)
        kept.value, kept.expires_at = value, expires_at
        return kept.value


#: Those of this process.
token_sources = TokenSources()
