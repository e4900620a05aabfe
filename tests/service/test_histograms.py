"""Histograms of a data set's columns, counted by hand."""

from typing import Any

import numpy as np

from service.histograms import histograms as counted
from support.service_in_process import Service

ROWS = b"age,size,sure,colour,note,day\n" + b"".join(
    f"{i % 10},{i / 4},{'true' if i % 4 else 'false'},{'red' if i % 3 else 'blue'},"
    f"text {i} of many words that differ,2026-01-{i % 28 + 1:02}\n".encode()
    for i in range(120)
)


def histograms(service: Service, name: str, **query: Any) -> dict[str, dict[str, Any]]:
    answer = service.http.get(f"/v1/datasets/{name}/histograms", params=query)
    assert answer.status_code == 200, answer.text
    return {item["column"]: item for item in answer.json()["items"]}


def test_each_column_of_numbers_or_categories_has_one(service: Service) -> None:
    service.upload("things", ROWS, types="note:text")
    found = histograms(service, "things")
    assert list(found) == ["age", "size", "sure", "colour"]
    assert found["age"]["counts"] == [12] * 10
    assert found["age"]["edges"] == [digit - 0.5 for digit in range(11)]
    assert (len(found["size"]["counts"]), sum(found["size"]["counts"])) == (30, 120)
    assert (found["sure"]["values"], found["sure"]["counts"]) == (["true", "false"], [90, 30])
    assert (found["colour"]["values"], found["colour"]["counts"]) == (["red", "blue"], [80, 40])
    assert {item["rows"] for item in found.values()} == {120}


def test_missing_values_are_not_counted(service: Service) -> None:
    service.upload("gaps", b"a,b\n" + b"1,x\n,y\n3,\n3,x\n" * 10)
    found = histograms(service, "gaps")
    assert sum(found["a"]["counts"]) == sum(found["b"]["counts"]) == 30


def test_whole_numbers_of_a_wide_range_share_bars_evenly(service: Service) -> None:
    service.upload("wide", b"a,b\n" + b"".join(f"{i},{i}\n".encode() for i in range(90)))
    found = histograms(service, "wide")["a"]
    assert found["counts"] == [3] * 30
    assert set(np.diff(found["edges"])) == {3.0}


def test_numbers_that_lie_too_near_together_or_too_far_apart_have_one_too(service: Service) -> None:
    far = [-(2**62), 2**62]
    rows = [f"{0.3 + i * 2**-54!r},{(i - 1) * 1e308!r},1e17,{10**17},{10**17 + i},{far[i % 2]}" for i in range(3)]
    service.upload("odd", "\n".join(["near,far,large,whole,whole near,whole far", *rows]).encode())
    found = histograms(service, "odd")
    assert {name: len(item["counts"]) for name, item in found.items()} == {
        "near": 1,
        "far": 30,
        "large": 1,
        "whole": 1,
        "whole near": 1,
        "whole far": 30,
    }
    assert {sum(item["counts"]) for item in found.values()} == {3}


def test_frequent_categories_are_named_and_the_others_counted(service: Service) -> None:
    cells = [f"name {i % 60}" if i < 600 else "often" for i in range(700)]
    service.upload("names", b"a,b\n" + b"".join(f"{cell},1\n".encode() for cell in cells), types="a:category")
    found = histograms(service, "names")["a"]
    assert (found["values"][0], found["counts"][0], len(found["values"])) == ("often", 100, 50)
    assert sum(found["counts"]) + found["others"] == 700


def test_of_a_large_table_rows_all_over_it_are_looked_at(service: Service) -> None:
    service.upload("large", b"a,b\n" + b"".join(f"{i},{i}\n".encode() for i in range(1_000)))
    table = service.control.catalog.table("default", "large")
    found = counted(table, table.columns[:1], most_rows=160)[0]
    assert (found.rows, sum(found.counts)) == (160, 160)
    assert found.edges is not None
    assert (found.edges[0], found.edges[-1] > 990) == (-0.5, True)


def test_columns_are_paged(service: Service) -> None:
    service.upload("things", ROWS, types="note:text")
    names: list[str] = []
    cursor: str | None = None
    while True:
        page = service.http.get(
            "/v1/datasets/things/histograms", params={"limit": 2, **({"cursor": cursor} if cursor else {})}
        ).json()
        names += [item["column"] for item in page["items"]]
        cursor = page["next_cursor"]
        if cursor is None:
            break
    assert names == ["age", "size", "sure", "colour"]
