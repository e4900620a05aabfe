"""Power cuts: every state in which a disk may be found after one, replayed from a record of what was done to it.

The rules are POSIX's, and not those of a file system that is kinder: bytes are on disk once their file was flushed,
names once their folder was. What was not may be there or not, independently of all else: of names, each change by
itself; of a file, nothing, all, a part, or its length alone, filled with zeros. Renaming is done wholly or not at all.
"""

from collections.abc import Iterator
from dataclasses import dataclass, field
from io import FileIO
from itertools import chain, combinations, product
from pathlib import Path, PurePosixPath
from typing import Any

from workers.checkpoint_process import FlushingDisk
from workers.disk import Disk, Parts

TORN_AT = (0, 1, 8, 100)  # bytes; and one less than all, all of them, and zeros


class RecordingDisk(Disk):
    """Does what a disk does, and remembers it. Of a careless one, what it `forgets` to do."""

    def __init__(self, root: Path, forgets: str = "") -> None:
        self._root, self._forgets = root, forgets
        self._seen: dict[Path, bytes] = {}
        self.record: list[tuple[Any, ...]] = []

    def mark(self, what: Any) -> None:
        """Remembers that something has been promised."""
        self.record.append(("mark", what))

    def make_folder(self, path: Path) -> None:
        if not path.is_dir():
            self.make_folder(path.parent)
            path.mkdir()
            self._note("make_folder", path)
            self.flush_folder(path.parent)

    def make(self, path: Path) -> None:
        super().make(path)
        self._note_content(path)

    def write(self, path: Path, parts: Parts) -> None:
        super().write(path, parts)
        self._note_content(path)

    def flush(self, path: Path) -> None:
        self._note_content(path)  # whoever wrote it
        if self._forgets != "flush":
            super().flush(path)
            self._note("flush", path)

    def rename(self, path: Path, new: Path) -> None:
        super().rename(path, new)
        self._note("rename", path, new)

    def flush_folder(self, path: Path) -> None:
        if self._forgets != "flush_folder":
            super().flush_folder(path)
            self._note("flush_folder", path)

    def remove(self, path: Path) -> None:
        if path.exists():
            super().remove(path)
            self._note_removed(path)

    def remove_tree(self, path: Path) -> None:
        inside = sorted(path.rglob("*"), reverse=True)
        super().remove_tree(path)
        for each in (*inside, path):
            self._note_removed(each)

    def _note_removed(self, path: Path) -> None:
        self._seen.pop(path, None)
        self._note("remove", path)

    def _note_content(self, path: Path) -> None:
        content = path.read_bytes()
        if self._seen.get(path) != content:
            self._seen[path] = content
            self._note("write", path, content)

    def _note(self, what: str, *arguments: Any) -> None:
        within = [PurePosixPath(each.relative_to(self._root)) if isinstance(each, Path) else each for each in arguments]
        self.record.append((what, *within))


class RecordingPieces(RecordingDisk, FlushingDisk):
    """The same of the disk that flushes a file piece by piece, and of small pieces."""

    piece_bytes = 50

    def flush_piece(self, file: FileIO) -> None:
        path = Path(file.name)
        self._note_content(path)
        super().flush_piece(file)
        self._note("flush", path)


@dataclass(eq=False)
class File:
    """Bytes: those on disk, and those that a reader sees while there is power."""

    flushed: bytes = b""
    content: bytes = b""

    def after_a_cut(self) -> list[bytes]:
        """What may be found of it."""
        if self.flushed == self.content:
            return [self.content]
        torn = [self.content[:length] for length in (*TORN_AT, len(self.content) - 1)]
        return [self.flushed, self.content, b"\0" * len(self.content), *torn]


@dataclass(eq=False)
class FolderOnDisk:
    """Names: those on disk, and those that are seen while there is power."""

    flushed: "dict[str, File | FolderOnDisk]" = field(default_factory=dict)
    names: "dict[str, File | FolderOnDisk]" = field(default_factory=dict)


@dataclass(eq=False)
class Change:
    """Names that change together: of `folder` when that is flushed; what is given a name, and what loses its own."""

    folder: FolderOnDisk
    name: str
    node: File | FolderOnDisk | None
    old_folder: FolderOnDisk | None = None
    old_name: str = ""


class DiskAfter:
    """A disk on which a part of a record was done. What its root held before is on disk."""

    def __init__(self) -> None:
        self._root = FolderOnDisk()
        self._changes: list[Change] = []  # that no flush has made sure of, in order
        self.marks: list[Any] = []

    def do(self, what: str, *arguments: Any) -> None:
        getattr(self, f"_{what}")(*arguments)

    def _mark(self, what: Any) -> None:
        self.marks.append(what)

    def _make_folder(self, path: PurePosixPath) -> None:
        self._change(Change(self._folder(path.parent), path.name, FolderOnDisk()))

    def _write(self, path: PurePosixPath, content: bytes) -> None:
        folder = self._folder(path.parent)
        if path.name not in folder.names:
            self._change(Change(folder, path.name, File()))
        file = folder.names[path.name]
        assert isinstance(file, File)
        file.content = content

    def _flush(self, path: PurePosixPath) -> None:
        file = self._folder(path.parent).names[path.name]
        assert isinstance(file, File)
        file.flushed = file.content

    def _rename(self, path: PurePosixPath, new: PurePosixPath) -> None:
        old_folder = self._folder(path.parent)
        self._change(Change(self._folder(new.parent), new.name, old_folder.names[path.name], old_folder, path.name))

    def _flush_folder(self, path: PurePosixPath) -> None:
        folder = self._folder(path)
        for change in self._changes:
            if change.folder is folder:
                _apply(change, "flushed")
        self._changes = [change for change in self._changes if change.folder is not folder]

    def _remove(self, path: PurePosixPath) -> None:
        self._change(Change(self._folder(path.parent), path.name, None))

    def _change(self, change: Change) -> None:
        _apply(change, "names")
        self._changes.append(change)

    def _folder(self, path: PurePosixPath) -> FolderOnDisk:
        found = self._root
        for part in path.parts:
            if part not in found.names:  # somebody made it without the disk: nothing is known to be flushed
                self._change(Change(found, part, FolderOnDisk()))
            inner = found.names[part]
            assert isinstance(inner, FolderOnDisk)
            found = inner
        return found

    # ------------------------------------------------------------ after a cut
    def found(self) -> Iterator[dict[str, bytes]]:
        """Every state in which it may be found: the files' contents by path."""
        for kept in _subsets(self._changes):
            tree = _copied(self._root)
            for change in kept:
                _apply(change, "names", tree)
            files = dict(_files(tree[self._root], tree, ""))
            for contents in product(*(file.after_a_cut() for file in files.values())):
                yield dict(zip(files, contents, strict=True))


Names = dict[FolderOnDisk, "dict[str, File | FolderOnDisk]"]


def _apply(change: Change, view: str, tree: Names | None = None) -> None:
    def names(folder: FolderOnDisk) -> dict[str, File | FolderOnDisk]:
        found: dict[str, File | FolderOnDisk] = getattr(folder, view) if tree is None else tree.setdefault(folder, {})
        return found

    if change.old_folder is not None:
        names(change.old_folder).pop(change.old_name, None)
    if change.node is None:
        names(change.folder).pop(change.name, None)
    else:
        names(change.folder)[change.name] = change.node


def _copied(root: FolderOnDisk) -> Names:
    """The names on disk of all folders that are, or may come to be, below that one."""
    found: Names = {}
    waiting = [root]
    while waiting:
        folder = waiting.pop()
        if folder not in found:
            found[folder] = dict(folder.flushed)
            inner = chain(folder.flushed.values(), folder.names.values())
            waiting += [node for node in inner if isinstance(node, FolderOnDisk)]
    return found


def _files(names: dict[str, File | FolderOnDisk], tree: Names, path: str) -> Iterator[tuple[str, File]]:
    for name, node in names.items():
        if isinstance(node, File):
            yield f"{path}{name}", node
        else:
            yield from _files(tree.get(node, {}), tree, f"{path}{name}/")


def _subsets(changes: list[Change]) -> Iterator[tuple[Change, ...]]:
    return chain.from_iterable(combinations(changes, size) for size in range(len(changes) + 1))


def cuts(record: list[tuple[Any, ...]]) -> Iterator[tuple[list[Any], dict[str, bytes]]]:
    """Every power cut: after each beginning of the record, what had been promised, and each state that may be found."""
    for length in range(len(record) + 1):
        disk = DiskAfter()
        for each in record[:length]:
            disk.do(*each)
        for files in disk.found():
            yield disk.marks, files


def lay_out(files: dict[str, bytes], folder: Path) -> Path:
    """Makes those files in an empty folder."""
    for path, content in files.items():
        (folder / path).parent.mkdir(parents=True, exist_ok=True)
        (folder / path).write_bytes(content)
    return folder
