"""What is served at `/`, and what a browser is told to let it do."""

import asyncio
from pathlib import Path

import httpx
import pytest
from fastapi import Depends, FastAPI

from service.auth import authorize
from service.web_page import install

SCRIPT = "export const answer = 42;\n" * 100


@pytest.fixture
def built(tmp_path: Path) -> Path:
    (tmp_path / "assets").mkdir()
    (tmp_path / "index.html").write_text("<!doctype html><title>Chainrule</title>")
    (tmp_path / "assets" / "index-a1b2.js").write_text(SCRIPT)
    return tmp_path


def get(folder: Path, path: str) -> httpx.Response:
    """What a service with the page in that folder answers."""
    app = FastAPI(dependencies=[Depends(authorize)])
    install(app, folder)

    async def ask() -> httpx.Response:
        async with httpx.AsyncClient(transport=httpx.ASGITransport(app), base_url="http://service") as client:
            return await client.get(path)

    return asyncio.run(ask())


def test_the_page_may_load_and_ask_only_what_this_service_serves(built: Path) -> None:
    policy = get(built, "/").headers["content-security-policy"]
    allowed = dict(part.strip().split(" ", 1) for part in policy.split(";"))
    assert allowed["default-src"] == "'none'"
    assert {allowed[kind] for kind in ("script-src", "style-src", "connect-src")} == {"'self'"}
    assert "unsafe" not in policy
    assert (allowed["frame-ancestors"], allowed["base-uri"]) == ("'none'", "'none'")


def test_the_page_is_asked_for_each_time_and_its_files_once(built: Path) -> None:
    assert get(built, "/").headers["cache-control"] == "no-cache"
    script = get(built, "/assets/index-a1b2.js")
    assert script.text == SCRIPT
    assert "immutable" in script.headers["cache-control"]
    assert script.headers["content-encoding"] == "gzip"
    assert script.headers["x-content-type-options"] == "nosniff"


def test_a_file_that_is_not_there_is_not_remembered(built: Path) -> None:
    answer = get(built, "/assets/index-0000.js")
    assert answer.status_code == 404
    assert "cache-control" not in answer.headers


@pytest.mark.parametrize("path", ["/assets/../index.html", "/assets/%2e%2e/index.html", "/assets/..%2f..%2fetc/passwd"])
def test_nothing_outside_the_folder_is_served(built: Path, path: str) -> None:
    assert get(built, path).status_code == 404


def test_a_service_whose_page_is_not_built_says_so_and_shows_the_way(tmp_path: Path) -> None:
    page = get(tmp_path / "nothing", "/")
    assert page.status_code == 200
    assert "make page" in page.text
    assert 'href="/docs"' in page.text
