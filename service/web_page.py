"""`/`: the web page, as `make page` built it, with headers that let it run only what is its own."""

import gzip
from os import PathLike, stat_result
from pathlib import Path

from fastapi import FastAPI, Response
from fastapi.responses import FileResponse
from fastapi.staticfiles import StaticFiles
from starlette.datastructures import Headers
from starlette.types import Receive, Scope, Send

from service.auth import OPEN

__all__ = ["SECURITY_HEADERS", "WholeFiles", "install"]

BUILT = Path(__file__).parent / "page" / "dist"

SECURITY_HEADERS = {
    "Content-Security-Policy": "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self' data:; "
    "connect-src 'self'; base-uri 'none'; form-action 'none'; frame-ancestors 'none'",
    "Cross-Origin-Opener-Policy": "same-origin",
    "Referrer-Policy": "no-referrer",
    "X-Content-Type-Options": "nosniff",
}
LEAST_BYTES = 500  # of a file that is compressed
FOREVER = "public, max-age=31536000, immutable"  # the name of a file holds a hash of its content

NOT_BUILT = """<!doctype html>
<html lang="en">
<head><meta charset="utf-8"><title>Chainrule</title></head>
<body>
<h1>Chainrule</h1>
<p>The service runs; its page has not been built. <code>make page</code> builds it, also where there is no Node; then
start the service again.</p>
<p>Everything else works without: <a href="/docs">the API</a>, and the command line.</p>
</body>
</html>
"""


class WholeFiles(StaticFiles):
    """Files that are sent whole: `Range`, which is as often wrong as of use here, is ignored."""

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        await super().__call__(_without_range(scope), receive, send)

    def file_response(
        self, full_path: str | PathLike[str], stat_result: stat_result, scope: Scope, status_code: int = 200
    ) -> Response:
        response = super().file_response(full_path, stat_result, scope, status_code)
        del response.headers["Accept-Ranges"]
        return response


class WholeFile(FileResponse):
    """One such file."""

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        del self.headers["Accept-Ranges"]
        await super().__call__(_without_range(scope), receive, send)


def _without_range(scope: Scope) -> Scope:
    return {**scope, "headers": [(name, value) for name, value in scope["headers"] if name != b"range"]}


class Assets(WholeFiles):
    """The page's scripts and styles, each compressed once for all; a browser asks for each once."""

    def __init__(self, folder: Path) -> None:
        super().__init__(directory=folder)
        self._compressed: dict[str, bytes] = {}

    def file_response(
        self, full_path: str | PathLike[str], stat_result: stat_result, scope: Scope, status_code: int = 200
    ) -> Response:
        response = super().file_response(full_path, stat_result, scope, status_code)
        response.headers.update({"X-Content-Type-Options": "nosniff", "Cache-Control": FOREVER})
        if stat_result.st_size < LEAST_BYTES:
            return response
        response.headers["Vary"] = "Accept-Encoding"
        response.headers["ETag"] = f"W/{response.headers['ETag']}"  # one and the same of both forms, whose bytes differ
        if response.status_code == 200 and "gzip" in Headers(scope=scope).get("Accept-Encoding", ""):
            headers = {**response.headers, "Content-Encoding": "gzip"}
            del headers["content-length"]
            return Response(self._gzip(str(full_path)), headers=headers)
        return response

    def _gzip(self, path: str) -> bytes:
        if path not in self._compressed:
            self._compressed[path] = gzip.compress(Path(path).read_bytes(), mtime=0)
        return self._compressed[path]


def install(app: FastAPI, built: Path = BUILT) -> None:
    """Adds the page to `app`; where it is not built, one that says so."""
    index = built / "index.html"
    is_built = index.is_file()

    async def page() -> Response:
        headers = {**SECURITY_HEADERS, "Cache-Control": "no-cache"}
        if is_built:
            return WholeFile(index, media_type="text/html", headers=headers)
        return Response(NOT_BUILT, media_type="text/html", headers=headers)

    app.add_api_route("/", page, methods=["GET", "HEAD"], dependencies=[OPEN], include_in_schema=False)
    if is_built:
        app.mount("/assets", Assets(built / "assets"))
