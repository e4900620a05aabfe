"""Job specs as people write them: YAML or JSON files, and `key=value` on the command line."""

import json
import re
from collections.abc import Hashable, Sequence
from pathlib import Path
from typing import Any, NoReturn

import yaml

from chainrule.errors import InvalidFile

__all__ = ["read_spec", "with_settings"]


class _SpecLoader(yaml.SafeLoader):
    """YAML by the core schema of version 1.2: 1e-3 is a number, `no` and dates are text, a key stands once."""


_SpecLoader.yaml_implicit_resolvers = {}
for _tag, _pattern, _first in (
    ("bool", r"true|True|TRUE|false|False|FALSE", "tTfF"),
    ("int", r"[-+]?[0-9]+", "-+0123456789"),
    ("float", r"[-+]?(\.[0-9]+|[0-9]+(\.[0-9]*)?)([eE][-+]?[0-9]+)?", "-+.0123456789"),
    ("null", r"~|null|Null|NULL|", "~nN"),
):
    _SpecLoader.add_implicit_resolver(f"tag:yaml.org,2002:{_tag}", re.compile(rf"^(?:{_pattern})$"), [*_first, ""])


def _integer(loader: yaml.SafeLoader, node: yaml.ScalarNode) -> int:
    return int(loader.construct_scalar(node))  # 010 is ten; YAML 1.1 would read it as octal


def _mapping(loader: yaml.SafeLoader, node: yaml.MappingNode) -> dict[Hashable, Any]:
    seen: set[Any] = set()
    for key_node, _ in node.value:
        key = key_node.value if isinstance(key_node, yaml.ScalarNode) else id(key_node)
        if key in seen:
            raise yaml.constructor.ConstructorError(None, None, f"the key {key!r} stands twice", key_node.start_mark)
        seen.add(key)
    return loader.construct_mapping(node, deep=True)


_SpecLoader.add_constructor("tag:yaml.org,2002:int", _integer)
_SpecLoader.add_constructor("tag:yaml.org,2002:map", _mapping)


def read_spec(path: Path) -> dict[str, Any]:
    """The spec in a YAML or JSON file, not yet validated: the service does that. Raises InvalidFile."""
    try:
        text = path.read_text(encoding="utf-8-sig")
    except OSError as error:
        raise InvalidFile(f"{path}: cannot be read: {error.strerror}") from error
    except UnicodeDecodeError as error:
        raise InvalidFile(f"{path}: got byte {error.start} that is not UTF-8, expected a text file") from error
    spec = _json(path, text) if path.suffix.lower() == ".json" else _yaml(path, text)
    if not isinstance(spec, dict):
        raise InvalidFile(
            f"{path}: got {type(spec).__name__}, expected a mapping of spec fields such as dataset: adult"
        )
    return spec


def _json(path: Path, text: str) -> Any:
    def once(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
        names = [name for name, _ in pairs]
        twice = next((name for name in names if names.count(name) > 1), None)
        if twice is not None:
            raise InvalidFile(f"{path}: the key {twice!r} stands twice")
        return dict(pairs)

    def finite(constant: str) -> NoReturn:
        raise InvalidFile(f"{path}: got {constant}, expected a finite number")

    try:
        return json.loads(text, object_pairs_hook=once, parse_constant=finite)
    except json.JSONDecodeError as error:
        raise InvalidFile(f"{path}, line {error.lineno}, column {error.colno}: {error.msg}") from error
    except RecursionError as error:
        raise InvalidFile(f"{path}: nested too deeply") from error


def _yaml(path: Path | None, text: str) -> Any:
    where = str(path) if path else repr(text)
    try:
        return yaml.load(text, Loader=_SpecLoader)
    except yaml.MarkedYAMLError as error:
        mark = error.problem_mark
        at = f", line {mark.line + 1}, column {mark.column + 1}" if mark and path else ""
        raise InvalidFile(f"{where}{at}: {error.problem}") from error
    except (yaml.YAMLError, ValueError, RecursionError) as error:
        raise InvalidFile(f"{where}: {str(error).splitlines()[0]}") from error


_STEP = re.compile(r"\.?([A-Za-z_][A-Za-z0-9_\-]*)|\[(\d+)\]")


def with_settings(spec: dict[str, Any], settings: Sequence[str]) -> dict[str, Any]:
    """`spec` with each `path=value` set, as in batch_size=512, optimizer.learning_rate=1e-3, layers[0].units=64.

    Values are YAML. Mappings on the way are made where they are not there. Raises InvalidFile for a path that does not
    fit the spec.
    """
    changed: dict[str, Any] = json.loads(json.dumps(spec))
    for setting in settings:
        path, equals, value = setting.partition("=")
        steps = _steps(path)
        if not equals or not steps:
            raise InvalidFile(f"--set: got {setting!r}, expected path=value, such as optimizer.learning_rate=0.01")
        _set(changed, steps, _yaml(None, value), setting)
    return changed


def _steps(path: str) -> list[str | int]:
    steps: list[str | int] = []
    at = 0
    while at < len(path):
        match = _STEP.match(path, at)
        if match is None:
            return []
        steps.append(match[1] if match[1] is not None else int(match[2]))
        at = match.end()
    return steps


def _set(spec: dict[str, Any], steps: Sequence[str | int], value: Any, setting: str) -> None:
    place: Any = spec
    for step, following in zip(steps, [*steps[1:], None], strict=True):
        fits = isinstance(place, list) and step < len(place) if isinstance(step, int) else isinstance(place, dict)
        if not fits:
            raise InvalidFile(f"--set: got {setting!r}, but the spec has no {step!r} there to set")
        if following is None:
            place[step] = value
        else:
            if isinstance(place, dict) and place.get(step) is None:
                place[step] = {}
            place = place[step]
