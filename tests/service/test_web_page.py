"""What is served at `/`, and what a browser is told to let it do."""

import asyncio
from pathlib import Path

import httpx
import pytest
from fastapi import Depends, FastAPI

from service import docs_page
from service.auth import authorize
from service.web_page import Assets, install

SCRIPT = "export const answer = 42;\n" * 100


@pytest.fixture
def built(tmp_path: Path) -> Path:
    (tmp_path / "assets").mkdir()
    (tmp_path / "index.html").write_text("<!doctype html><title>Chainrule</title>")
    (tmp_path / "assets" / "index-a1b2.js").write_text(SCRIPT)
    return tmp_path


def get(folder: Path, path: str, *, times: int = 1, **headers: str) -> httpx.Response:
    """What a service with the page in that folder answers, the last of so many times."""
    app = FastAPI(dependencies=[Depends(authorize)])
    install(app, folder)
    docs_page.install(app)

    async def ask() -> httpx.Response:
        async with httpx.AsyncClient(transport=httpx.ASGITransport(app), base_url="http://service") as client:
            for _ in range(times - 1):
                await client.get(path, headers=headers)
            return await client.get(path, headers=headers)

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


def test_a_file_is_compressed_for_whom_it_may_and_asked_for_again_by_its_tag(built: Path) -> None:
    script = "/assets/index-a1b2.js"
    plain = get(built, script, **{"Accept-Encoding": "identity"})
    packed = get(built, script, times=2)
    assert (plain.text, packed.text) == (SCRIPT, SCRIPT)
    assert (plain.headers["content-length"], "content-encoding" in plain.headers) == (str(len(SCRIPT)), False)
    assert packed.headers["content-encoding"] == "gzip"
    assert int(packed.headers["content-length"]) < len(SCRIPT) / 2
    for told in (plain, packed):
        assert (told.headers["vary"], told.headers["content-type"]) == (
            "Accept-Encoding",
            plain.headers["content-type"],
        )
        there = get(built, script, **{"If-None-Match": told.headers["etag"]})
        assert (there.status_code, there.content, there.headers["etag"]) == (304, b"", told.headers["etag"])
        assert (there.headers["vary"], "immutable" in there.headers["cache-control"]) == ("Accept-Encoding", True)
    assert plain.headers["etag"] == packed.headers["etag"]
    assert plain.headers["etag"].startswith("W/")


def test_a_file_is_compressed_once_for_all(built: Path) -> None:
    assets = Assets(built / "assets")
    path = str(built / "assets" / "index-a1b2.js")
    assert assets._gzip(path) is assets._gzip(path)


@pytest.mark.parametrize("path", ["/", "/assets/index-a1b2.js", "/docs/files/swagger-ui.css"])
@pytest.mark.parametrize("asked", ["bytes=0-0", "bytes=999999999-", "bytes=3-1", "bytes=a-b", "bytes=0-0,2-3", "x"])
def test_the_pages_files_are_sent_whole_whatever_range_is_asked_for(built: Path, path: str, asked: str) -> None:
    whole, answer = get(built, path), get(built, path, Range=asked)
    assert (answer.status_code, answer.content) == (200, whole.content)
    assert "accept-ranges" not in answer.headers


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
