"""The lists of what Chainrule is made of are whole."""

import pytest

from supply.sbom import PAGE, ROOT, Incomplete, Json, complete, locked_for_page, locked_for_service, of_service

LOCKED = locked_for_service((ROOT / "requirements.lock").read_text("utf-8"))


@pytest.fixture(scope="module")
def bom() -> Json:
    return of_service()


def test_every_package_that_runs_in_the_image_is_listed_with_its_hashes(bom: Json) -> None:
    assert ("ray", "2.60.0") in LOCKED
    assert complete(bom, LOCKED) is bom
    listed = {(component["name"], component["version"]) for component in bom["components"]}
    assert listed >= LOCKED
    assert all(component["externalReferences"][0]["hashes"] for component in bom["components"])
    assert bom["metadata"]["component"]["name"] == "chainrule-service"


def test_a_list_that_leaves_something_out_or_is_none_is_refused(bom: Json) -> None:
    with pytest.raises(Incomplete, match=r"1 of .* are not listed: .*somewhere"):
        complete(bom, LOCKED | {("somewhere", "1.0")})
    with pytest.raises(Incomplete, match="not valid CycloneDX"):
        complete({**bom, "components": [{"name": "nameless"}]}, LOCKED)


def test_the_pages_packages_are_named_as_npm_names_them() -> None:
    locked = locked_for_page((PAGE / "package-lock.json").read_text("utf-8"))
    assert any(name == "svelte" for name, _ in locked)
    assert any(name.startswith("@sveltejs/") for name, _ in locked)
