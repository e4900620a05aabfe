"""Specs are read as a person means them, and refused with file, line and column."""

from pathlib import Path
from typing import Any

import pytest

from chainrule import InvalidFile
from chainrule.specs import read_spec, with_settings


def written(folder: Path, text: str, name: str = "spec.yaml") -> Path:
    path = folder / name
    path.write_text(text)
    return path


@pytest.mark.parametrize(
    ("text", "value"),
    [
        ("1e-3", 0.001),
        ("0.5", 0.5),
        (".5", 0.5),
        ("-3", -3),
        ("010", 10),
        ("9007199254740993", 9007199254740993),
        ("no", "no"),
        ("true", True),
        ("2026-11-23", "2026-11-23"),
        ("1:30", "1:30"),
        (".nan", ".nan"),
        ("null", None),
        ("~", None),
        ("", None),
        ("'7'", "7"),
        ("<=50K", "<=50K"),
    ],
)
def test_a_yaml_value_is_read_by_the_core_schema_of_1_2(tmp_path: Path, text: str, value: Any) -> None:
    read = read_spec(written(tmp_path, f"field: {text}\n"))["field"]
    assert (read, type(read)) == (value, type(value))


def test_json_is_read_as_it_is(tmp_path: Path) -> None:
    assert read_spec(written(tmp_path, '{"layers": [], "seed": 1}', "spec.json")) == {"layers": [], "seed": 1}


@pytest.mark.parametrize(
    ("name", "text", "message"),
    [
        ("spec.yaml", "a: 1\nb: [1,\nc: 2", "line 3"),
        ("spec.yaml", "seed: 1\nseed: 2\n", "line 2, column 1: the key 'seed' stands twice"),
        ("spec.yaml", "- 1\n", "got list, expected a mapping of spec fields"),
        ("spec.yaml", "", "got NoneType, expected a mapping"),
        ("spec.yaml", "a: !!python/object/apply:os.system ['true']\n", "could not determine a constructor"),
        ("spec.yaml", f"seed: {'9' * 5000}\n", "Exceeds the limit"),
        ("spec.yaml", "a: &a {b: *a}\n", "found unconstructable recursive node"),
        ("spec.yaml", "[" * 10_000, "spec.yaml"),
        ("spec.json", '{"a": 1,}', "line 1, column 9"),
        ("spec.json", '{"a": 1, "a": 2}', "the key 'a' stands twice"),
        ("spec.json", '{"a": NaN}', "got NaN, expected a finite number"),
        ("spec.json", '{"a":' * 100_000, "nested too deeply"),
    ],
)
def test_a_file_that_is_no_spec_is_refused_with_the_place(tmp_path: Path, name: str, text: str, message: str) -> None:
    with pytest.raises(InvalidFile) as refused:
        read_spec(written(tmp_path, text, name))
    assert message in str(refused.value)
    assert "\n" not in str(refused.value)


def test_a_missing_file_and_a_binary_file_are_refused(tmp_path: Path) -> None:
    with pytest.raises(InvalidFile, match="No such file"):
        read_spec(tmp_path / "nowhere.yaml")
    (tmp_path / "spec.yaml").write_bytes(b"name: \xff\xfe")
    with pytest.raises(InvalidFile, match="got byte 6 that is not UTF-8"):
        read_spec(tmp_path / "spec.yaml")


def test_settings_change_fields_at_any_depth_and_leave_the_spec_alone() -> None:
    spec = {"layers": [{"units": 8}, {"units": 4}], "validation": None}
    settings = [
        "batch_size=512",
        "layers[1].units=64",
        "optimizer.learning_rate=1e-3",
        "validation.fraction=0.1",
        "name=a=b",
    ]
    assert with_settings(spec, settings) == {
        "layers": [{"units": 8}, {"units": 64}],
        "batch_size": 512,
        "optimizer": {"learning_rate": 0.001},
        "validation": {"fraction": 0.1},
        "name": "a=b",
    }
    assert spec == {"layers": [{"units": 8}, {"units": 4}], "validation": None}


@pytest.mark.parametrize(
    "setting", ["batch_size", "=3", "layers[2].units=1", "layers.units=1", "a..b=1", "name.x=1", "a[=1"]
)
def test_a_setting_that_does_not_fit_is_refused(setting: str) -> None:
    with pytest.raises(InvalidFile, match="--set: got"):
        with_settings({"layers": [{"units": 8}], "name": "x"}, [setting])
