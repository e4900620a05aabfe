"""`/`: the web page, as `make page` built it, with headers that let it run only what is its own."""

from pathlib import Path

from fastapi import FastAPI, Response
from fastapi.responses import FileResponse
from fastapi.staticfiles import StaticFiles
from starlette.middleware.gzip import GZipMiddleware
from starlette.types import Message, Receive, Scope, Send

from service.auth import OPEN

__all__ = ["SECURITY_HEADERS", "install"]

BUILT = Path(__file__).parent / "page" / "dist"

SECURITY_HEADERS = {
    "Content-Security-Policy": "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self' data:; "
    "connect-src 'self'; base-uri 'none'; form-action 'none'; frame-ancestors 'none'",
    "Cross-Origin-Opener-Policy": "same-origin",
    "Referrer-Policy": "no-referrer",
    "X-Content-Type-Options": "nosniff",
}
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


class Assets:
    """The page's scripts and styles, compressed; a browser asks for each once."""

    def __init__(self, folder: Path) -> None:
        self._files = GZipMiddleware(StaticFiles(directory=folder), minimum_size=500)

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        async def send_with_headers(message: Message) -> None:
            if message["type"] == "http.response.start":
                headers = {"X-Content-Type-Options": "nosniff"}
                if message["status"] in (200, 206, 304):
                    headers["Cache-Control"] = FOREVER
                encoded = [(name.lower().encode(), value.encode()) for name, value in headers.items()]
                message["headers"] = [*message["headers"], *encoded]
            await send(message)

        await self._files(scope, receive, send_with_headers)


def install(app: FastAPI, built: Path = BUILT) -> None:
    """Adds the page to `app`; where it is not built, one that says so."""
    index = built / "index.html"
    is_built = index.is_file()

    async def page() -> Response:
        headers = {**SECURITY_HEADERS, "Cache-Control": "no-cache"}
        if is_built:
            return FileResponse(index, media_type="text/html", headers=headers)
        return Response(NOT_BUILT, media_type="text/html", headers=headers)

    app.add_api_route("/", page, methods=["GET", "HEAD"], dependencies=[OPEN], include_in_schema=False)
    if is_built:
        app.mount("/assets", Assets(built / "assets"))
