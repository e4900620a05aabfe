"""`/docs`: Swagger UI from a package's own files, so that it works without internet; nothing is inlined in the page."""

from importlib.util import find_spec
from pathlib import Path

from fastapi import FastAPI, Response

from service.auth import OPEN
from service.web_page import SECURITY_HEADERS, WholeFiles

__all__ = ["install"]

PAGE = """<!doctype html>
<html lang="en">
<head>
<meta charset="utf-8">
<title>Chainrule API</title>
<link rel="stylesheet" href="/docs/files/swagger-ui.css">
<link rel="icon" href="/docs/files/favicon-32x32.png">
</head>
<body>
<div id="swagger-ui"></div>
<script src="/docs/files/swagger-ui-bundle.js"></script>
<script src="/docs/start.js"></script>
</body>
</html>
"""
START = """SwaggerUIBundle({url: "/openapi.json", dom_id: "#swagger-ui", deepLinking: true, validatorUrl: null});
"""


def install(app: FastAPI) -> None:
    """Adds the page and its files to `app`."""

    async def page() -> Response:
        return Response(PAGE, media_type="text/html", headers=SECURITY_HEADERS)

    async def start() -> Response:
        return Response(START, media_type="text/javascript")

    for path, endpoint in {"/docs": page, "/docs/start.js": start}.items():
        app.add_api_route(path, endpoint, dependencies=[OPEN], include_in_schema=False)
    app.mount("/docs/files", WholeFiles(directory=_files()))


def _files() -> Path:
    """Where Swagger UI lies; the package is found, not imported."""
    found = find_spec("fastapi_swagger")
    assert found is not None and found.submodule_search_locations, "fastapi-swagger is among our dependencies"
    return Path(found.submodule_search_locations[0]) / "resources"
