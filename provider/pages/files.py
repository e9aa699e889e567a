"""Routes of the files that a browser loads: a fixed list, read once, and like everything else for those who have logged in."""

from __future__ import annotations

import hashlib
from dataclasses import dataclass
from pathlib import Path

from fastapi import APIRouter, HTTPException, Request
from starlette.responses import Response

router = APIRouter()

FOLDER = Path(__file__).parent / "static"

#: For so many seconds a browser does not ask again.
_MAX_AGE = 60

_SCRIPTS = ("main", "dom", "ask", "times", "theme", "batches", "batch", "gantt", "graph", "requests", "definitions", "health")

#: Name → media type.
NAMES = {
    **{f"{name}.js": "text/javascript; charset=utf-8" for name in _SCRIPTS},
    "pages.css": "text/css; charset=utf-8",
    "icon.svg": "image/svg+xml",
    "icon-dark.svg": "image/svg+xml",
}


@dataclass(frozen=True)
class _File:
    content: bytes
    media_type: str
    etag: str

    @classmethod
    def read(cls, name: str, media_type: str) -> _File:
        content = (FOLDER / name).read_bytes()
        return cls(content, media_type, f'"{hashlib.sha256(content).hexdigest()[:32]}"')

    def answer(self, request: Request) -> Response:
        headers = {"ETag": self.etag, "Cache-Control": f"private, max-age={_MAX_AGE}"}
        if self.etag in request.headers.get("if-none-match", ""):
            return Response(status_code=304, headers=headers)
        return Response(self.content, media_type=self.media_type, headers=headers)


_FILES = {name: _File.read(name, media_type) for name, media_type in NAMES.items()}
_PAGE = _File.read("index.html", "text/html; charset=utf-8")


@router.get("/")
async def page(request: Request) -> Response:
    """Return the one page; which of its views is shown stands in the address."""
    return _PAGE.answer(request)


@router.get("/files/{name}")
async def file(name: str, request: Request) -> Response:
    """Return one of the files; no other name reaches the disk."""
    if name not in _FILES:
        raise HTTPException(404, "There is no such file.")
    return _FILES[name].answer(request)
