"""What came back of a request to an HTTP service, for a person and for XCom: bounded, and without what is secret."""

from __future__ import annotations

import codecs
import re
from dataclasses import dataclass, field
from functools import cached_property
from http import HTTPStatus
from typing import TYPE_CHECKING, Any

from provider.hooks.http_secrets import Secrets
from provider.plain_data import parse_json, unstorable
from provider.texts import one_line, quoted, sentence, storable

if TYPE_CHECKING:
    import requests

#: The longest answer that is kept, in bytes: XCom is a table of Airflow's database. Of a longer one no more is looked at.
MOST_KEPT = 2**20
#: How deep a JSON answer may be nested that is kept.
_DEEPEST = 40
#: Encodings that texts have, by Python's names. The time that these take is that of reading; for others of Python's it is not.
_TEXTS = re.compile(
    r"utf-(8|16|32)(-[bl]e)?|utf-8-sig|ascii|iso8859-\d+|cp\d+|koi8-[rtu]|mac-\w+|tis-620|gb2312|gbk|gb18030|big5(hkscs)?|"
    r"euc_\w+|shift_jis\w*|iso2022_\w+|johab"
)
#: User and password of an address, and what stands behind its path.
_USER, _BEHIND = re.compile(r"^([^/?#]*//)[^/?#]*@"), re.compile(r"[?#].*", re.DOTALL)


@dataclass(frozen=True, kw_only=True)
class HttpAnswer:
    """
    What came.

    :param text: the body as it came, at most so much of it as may be kept; what is secret is in it.
    :param location: where it leads, without a query.
    :param secrets: what is secret.
    """

    status: int
    reason: str
    content_type: str
    text: str = field(repr=False)
    location: str
    retry_after: str
    secrets: Secrets = field(repr=False)

    @property
    def is_json(self) -> bool:
        """Whether it says that it is JSON."""
        kind = self.content_type.partition(";")[0].strip().lower()
        return kind == "application/json" or kind.endswith("+json")

    @cached_property
    def said(self) -> str:
        """The body as people may see it."""
        said: str = self.secrets.out_of(self.text)
        return said

    def body(self) -> Any:
        """
        Return what it says, for XCom: JSON as such, everything else as text, nothing as None.

        :raises ValueError: it says that it is JSON, and is none, or none that can be stored.
        """
        if not self.text:
            return None
        if not self.is_json:
            return storable(self.said, MOST_KEPT)
        try:
            # What is secret is taken out of what it says: in its text a secret may be a word of JSON, or part of one.
            found = self.secrets.out_of(parse_json(self.text))
        except RecursionError:
            raise ValueError("it is nested too deep") from None
        except ValueError as error:
            raise ValueError(self.secrets.out_of(str(error))) from None
        if flaw := next(unstorable(found, max_depth=_DEEPEST), None):
            raise ValueError(f"it has something at {quoted(flaw.path)} that cannot be stored ({flaw.flaw.name})")
        return found


def read(answer: requests.Response, content: bytes, secrets: Secrets) -> HttpAnswer:
    """Return an answer of requests, whose content has been read, as one of ours."""

    def header(name: str) -> str:
        cleaned: str = secrets.out_of(_header_text(answer.headers.get(name, "")))
        return cleaned

    charset = answer.encoding if "charset" in answer.headers.get("Content-Type", "").lower() else None
    reason = secrets.out_of(_header_text(answer.reason or "")) or _usual_reason(answer.status_code)
    return HttpAnswer(
        status=answer.status_code,
        reason=sentence(reason, 80),
        content_type=answer.headers.get("Content-Type", ""),
        text=content[:MOST_KEPT].decode(_encoding(charset), "replace").removeprefix("\ufeff"),
        location=one_line(_BEHIND.sub("", _USER.sub(r"\1", header("Location")))),
        retry_after=one_line(header("Retry-After"), 50),
        secrets=secrets,
    )


def _encoding(charset: str | None) -> str:
    """Return the encoding for a text whose service says it is this one; UTF-8 for what is none of a text."""
    try:
        name = codecs.lookup(charset or "utf-8").name
    except (LookupError, ValueError):  # nothing that Python knows, or could know
        return "utf-8"
    return name if _TEXTS.fullmatch(name) else "utf-8"


def _header_text(text: str) -> str:
    """Return what a header says, of which Python makes latin-1, though most services write UTF-8."""
    try:
        return text.encode("latin-1").decode()
    except UnicodeError:
        return text


def _usual_reason(status: int) -> str:
    try:
        return HTTPStatus(status).phrase
    except ValueError:
        return ""
