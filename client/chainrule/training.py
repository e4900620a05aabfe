"""What `train` is given, as a data set to upload and a spec to submit."""

import hashlib
import tempfile
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from numbers import Integral
from pathlib import Path
from typing import Any

from chainrule import files
from chainrule.errors import InvalidFile, InvalidInput
from chainrule.packing import packed
from chainrule.records import Dataset
from chainrule.tables import columns_of, is_category

__all__ = ["Source", "learned", "source_of", "spec_of"]

Y = "y"
"""The column that `y` becomes unless a target is named."""


@dataclass(frozen=True)
class Source:
    """A table that may have to be uploaded: a file, or the content of one."""

    name: str
    """What the data set is called: as the file, or for a table in memory by its content and types."""
    sha256: str
    path: Path | None = None
    content: bytes = b""
    suffix: str = ""
    types: Mapping[str, str] = field(default_factory=dict)
    """Types of columns that the file does not tell."""

    @classmethod
    def of(cls, columns: Mapping[str, Any], table: Any = None) -> "Source":
        """The columns of a table in memory; Polars packs its own `table` itself."""
        content, suffix = packed(columns, table)
        # However many there are, they are categories and no texts; a name with a comma cannot be told.
        types = {
            name: "category"
            for name, values in columns.items()
            if is_category(values) and "," not in name and name == name.strip()
        }
        digest = hashlib.sha256(content)
        sha256 = digest.hexdigest()
        digest.update("".join(types).encode())  # which the same content may have with other types, too
        return cls(f"table-{digest.hexdigest()[:16]}", sha256, None, content, suffix, types)

    @contextmanager
    def file(self) -> Iterator[Path]:
        """The file to upload."""
        if self.path is not None:
            yield self.path
            return
        with tempfile.TemporaryDirectory(prefix="chainrule-") as folder:
            path = Path(folder, f"table{self.suffix}")
            path.write_bytes(self.content)
            yield path


def _is_path(text: str) -> bool:
    """Whether it names a file rather than a data set, whose name may be that of a file without a suffix, too."""
    return "/" in text or files.is_table(text) or (Path(text).suffix != "" and Path(text).is_file())


def source_of(data: Any, y: Any, target: str | Sequence[str] | None) -> Source | str:
    """What to upload, or the id or name of a data set that is there. Raises InvalidInput and InvalidFile."""
    if isinstance(data, Dataset | str | Path) and y is not None:
        raise InvalidInput.of("y", type(y).__name__, "no y: the target is a column of the file or data set")
    if isinstance(data, Dataset):
        return data.id
    if isinstance(data, Path) or (isinstance(data, str) and _is_path(data)):
        path = Path(data)
        files.media_of(path)
        if not path.is_file():
            raise InvalidFile(f"{path}: no such file")
        return Source(files.name_of(path), files.sha256(path), path)
    if isinstance(data, str):
        return data
    columns = columns_of(data)
    if y is None:
        _check_target(columns, target)
    else:
        name = learned(y, target)
        if name in columns:
            raise InvalidInput.of("target", name, "a name that no column of the data has, as y becomes that column")
        columns, data = columns_of({**columns, str(name): _column(y)[1]}), None
    return Source.of(columns, data)


def learned(y: Any, target: str | Sequence[str] | None) -> str | list[str]:
    """What is learned: `target`, or what the column `y` is called. Raises InvalidInput."""
    if y is None and target is None:
        raise InvalidInput.of("target", None, "the name of the column to learn")
    if y is None or isinstance(target, str):
        return target if isinstance(target, str) else list(target or ())
    if target is not None:
        raise InvalidInput.of("target", list(target), "one name, as y is one column")
    return str(_column(y)[0] or Y)


def _column(y: Any) -> tuple[Any, Any]:
    """What it is called, if it is, and its values: (rows,), also of a table or an array of one column."""
    shape: tuple[int, ...] = getattr(y, "shape", ())
    if len(shape) != 2:
        return getattr(y, "name", None), y
    columns = columns_of(y)
    if any(values is y for values in columns.values()):  # an array
        return None, y[:, 0] if shape[1] == 1 else y
    if len(columns) != 1:
        raise InvalidInput.of("y", f"{len(columns)} columns", "one; several are columns of the data that target names")
    return next(iter(columns.items()))


def _check_target(columns: Mapping[str, Any], target: str | Sequence[str] | None) -> None:
    names = [target] if target is None or isinstance(target, str) else target
    for name in names:
        if name not in columns:
            raise InvalidInput.of("target", name, f"a column of the data: {', '.join(list(columns)[:20])}")


def spec_of(
    target: str | list[str], layers: Sequence[int | Mapping[str, Any]], spec: Mapping[str, Any]
) -> dict[str, Any]:
    """The spec to submit, without its data set. Raises InvalidInput for layers that are none."""
    if isinstance(layers, str | Mapping) or not isinstance(layers, Sequence):
        raise InvalidInput.of("layers", layers, "a list, such as [64, 32]")
    hidden = [_layer(number, layer) for number, layer in enumerate(layers)]
    return {**spec, "target": target, "layers": hidden}


def _layer(number: int, layer: int | Mapping[str, Any]) -> dict[str, Any]:
    if isinstance(layer, Mapping):
        return dict(layer)
    if isinstance(layer, Integral) and not isinstance(layer, bool):
        return {"type": "dense", "units": int(layer)}
    raise InvalidInput.of(f"layers[{number}]", layer, 'a number of units, or a layer such as {"type": "dropout", …}')
