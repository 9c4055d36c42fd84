"""The page to talk to: static files and the headers they are served with.

    app.routes.extend(page_routes())

gives ``GET /``, ``GET /recordings`` and ``GET /page/…``. The pages ask for nothing from
elsewhere, and their Content-Security-Policy forbids that they ever do.
"""

from __future__ import annotations

from importlib.resources import as_file, files
from pathlib import Path

from starlette.requests import Request
from starlette.responses import FileResponse, JSONResponse, PlainTextResponse, Response
from starlette.routing import BaseRoute, Route

HEADERS = {
    "Content-Security-Policy": (
        "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self'; "
        "connect-src 'self'; media-src 'self' blob:; worker-src 'self'; base-uri 'none'; "
        "form-action 'none'; frame-ancestors 'none'"
    ),
    "Permissions-Policy": "microphone=(self), speaker-selection=(self), camera=(), geolocation=()",
    "Cross-Origin-Opener-Policy": "same-origin",
    "Referrer-Policy": "no-referrer",
    "X-Content-Type-Options": "nosniff",
    "Cache-Control": "no-cache",
}
"""Of every answer here: nothing from outside, no frames, checked for news each time."""

MEDIA_TYPES = {
    ".html": "text/html",
    ".css": "text/css",
    ".js": "text/javascript",
    ".svg": "image/svg+xml",
}


def static_folder() -> Path:
    """Where the page's files are in this installation."""
    with as_file(files("coda_voice.server.page") / "static") as folder:
        return folder


def page_routes() -> list[BaseRoute]:
    """Give ``GET /`` and the files it needs, below ``/page/``."""
    folder = static_folder()
    known = {
        path.relative_to(folder).as_posix(): path
        for path in folder.rglob("*")
        if path.suffix in MEDIA_TYPES
    }

    async def index(_: Request) -> Response:
        return _file(known["index.html"])

    async def recordings(_: Request) -> Response:
        return _file(known["recordings.html"])

    async def features(request: Request) -> Response:
        front = getattr(request.app.state, "front", None)
        recordings = front is not None and front.settings.recordings is not None
        return JSONResponse({"recordings": recordings}, headers=HEADERS)

    async def part(request: Request) -> Response:
        # Only names found at the start are served: a path in the request opens nothing.
        path = known.get(request.path_params["name"])
        if path is None:
            return PlainTextResponse("There is no such file.", 404, HEADERS)
        return _file(path)

    return [
        Route("/", index, name="page"),
        Route("/recordings", recordings, name="recordings_page"),
        Route("/page/features.json", features, name="page_features"),
        Route("/page/{name:path}", part, name="page_files"),
    ]


def _file(path: Path) -> Response:
    return FileResponse(path, headers=HEADERS, media_type=MEDIA_TYPES[path.suffix])
