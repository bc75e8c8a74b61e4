"""A model of what a disk may contain after a power failure: files, folders and all possible outcomes.

:class:`Recorder` is a disk that really works and remembers every changing call. :class:`Platter`
replays the calls and distinguishes durable data from data that were only handed to the system: the
bytes of a file are durable after a sync of that file, a name after a sync of its folder. After a
power failure, each change that is not durable may have happened or not, in any combination:

* bytes: none of them, all, the first half, zeros or garbage in their place, or garbage in the
  place of one write of many;
* names (create, rename, link, unlink, new folders): present or not, each independently.

A rename is atomic: it never makes a name disappear. Durable bytes stay.
"""

from __future__ import annotations

import hashlib
import itertools
import random
import shutil
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import NamedTuple, TypeVar

from src.data.core.disk.files import Disk, DiskStep
from tests.core.cache.disks import CHANGING, Killed

T = TypeVar("T")

# Of more writes than these to one file, each may be the only one that is lost.
_FEW = 3
SYNCS = frozenset({"fsync", "fdatasync", "fsync_dir"})


class DiskCall(NamedTuple):
    """A changing call that was made; ``data`` are the bytes that were taken."""

    name: str
    path: Path
    target: Path | None = None
    data: bytes = b""
    at: int = 0


class Promise(NamedTuple):
    """A point in time: ``level`` is the acknowledged state, or the state begun."""

    kind: str
    level: int


class Quick(Disk):
    """A disk that does not wait for the platter: for everything that is not about power."""

    def perform(self, step: DiskStep, call: Callable[[], T]) -> T:
        return call() if step.name not in SYNCS else None  # type: ignore[return-value]


class Recorder(Quick):
    """A disk that records its changing calls, and can be killed before the n-th of them.

    Args:
        forgets: Selects syncs to leave out, to show that they are needed.
    """

    def __init__(self, forgets: Callable[[DiskStep], bool] = lambda step: False) -> None:
        super().__init__()
        self.events: list[DiskCall | Promise] = []
        self.dies_in: int | None = None
        self._forgets = forgets

    def perform(self, step: DiskStep, call: Callable[[], T]) -> T:
        if step.name in CHANGING and self.dies_in is not None:
            self.dies_in -= 1
            if self.dies_in < 0:
                raise Killed
        result = super().perform(step, call)
        if step.name in CHANGING and not (step.name in SYNCS and self._forgets(step)):
            taken = bytes(step.data)[:result] if step.data is not None else b""  # type: ignore[misc]
            self.events.append(DiskCall(step.name, step.path, step.target, taken, step.at or 0))
        return result

    def disk_calls(self) -> list[DiskCall]:
        return [made_call for made_call in self.events if isinstance(made_call, DiskCall)]


@dataclass
class _File:
    """Bytes of one file: the durable ones, and the calls since."""

    safe: bytes = b""
    since: list[DiskCall] = field(default_factory=list)

    def outcomes(self) -> list[bytes]:
        """Return the possible contents, the newest first and the oldest last."""
        changes = (_same, _half, _zeros, _garbage)
        found = [*map(self.after, changes), self.safe]
        if len(self.since) > _FEW:
            found += [self.after(_same, place) for place in range(len(self.since))]
        return list(dict.fromkeys(reversed(found)))[::-1]

    def after(self, change: Callable[[bytes], bytes], lost: int = -1) -> bytes:
        content = self.safe
        for place, made_call in enumerate(self.since):
            if made_call.name == "truncate":
                content = content[: made_call.at].ljust(made_call.at, b"\0")
                continue
            data = (_garbage if place == lost else change)(made_call.data)
            start = content[: made_call.at].ljust(made_call.at, b"\0")
            content = start + data + content[made_call.at + len(data) :]
        return content


def _same(data: bytes) -> bytes:
    return data


def _half(data: bytes) -> bytes:
    return data[: len(data) // 2]


def _zeros(data: bytes) -> bytes:
    return bytes(len(data))


def _garbage(data: bytes) -> bytes:
    blocks = (hashlib.sha256(b"%d" % n).digest() for n in itertools.count())
    return b"".join(itertools.islice(blocks, len(data) // 32 + 1))[: len(data)]


Entry = int | None  # number of a file or folder; None if the name was removed


class _Change(NamedTuple):
    """Names that change atomically."""

    names: tuple[tuple[str, Entry], ...]


@dataclass
class _Folder:
    """Names of one folder: the safe ones, and what was done since."""

    safe: dict[str, int] = field(default_factory=dict)
    since: list[_Change] = field(default_factory=list)

    def after(self, seen: Sequence[bool]) -> dict[str, int]:
        names: dict[str, Entry] = dict(self.safe)
        for change, is_seen in zip(self.since, seen, strict=True):
            if is_seen:
                names.update(change.names)
        return {name: entry for name, entry in names.items() if entry is not None}


class Tree(NamedTuple):
    """What is found after the crash: bytes by relative path; equal numbers are one file."""

    files: tuple[tuple[str, int, bytes], ...]
    folders: tuple[str, ...]

    def put(self, root: Path) -> None:
        """Make ``root`` hold exactly this."""
        shutil.rmtree(root, ignore_errors=True)
        root.mkdir(parents=True)
        for name in self.folders:
            (root / name).mkdir(parents=True, exist_ok=True)
        made: dict[int, Path] = {}
        for name, number, content in self.files:
            if number in made:
                (root / name).hardlink_to(made[number])
            else:
                (root / name).write_bytes(content)
                made[number] = root / name


class Platter:
    """The disk under ``root`` as replayed so far; its initial files are durable."""

    def __init__(self, root: Path) -> None:
        self._root = root
        self._nodes: dict[int, _File | _Folder] = {0: _Folder()}
        self._names: dict[str, int] = {".": 0}  # as running programs see them
        self._linked: dict[int, int] = {}
        for path in sorted(root.rglob("*")):
            node: _File | _Folder = _Folder() if path.is_dir() else _File(path.read_bytes())
            number = self._linked.setdefault(path.stat().st_ino, len(self._nodes))
            self._nodes.setdefault(number, node)
            self._names[self._name(path)] = number
            self._folder(path.parent).safe[path.name] = number

    def _name(self, path: Path) -> str:
        return path.relative_to(self._root).as_posix()

    def _folder(self, path: Path) -> _Folder:
        node = self._nodes[self._names[self._name(path)]]
        assert isinstance(node, _Folder)
        return node

    def _file(self, path: Path) -> _File:
        node = self._nodes[self._names[self._name(path)]]
        assert isinstance(node, _File)
        return node

    def replay(self, made_call: DiskCall) -> None:
        """Let one call happen."""
        getattr(self, f"_{made_call.name}")(made_call)

    def _create(self, made_call: DiskCall) -> None:
        self._add(made_call.path, _File())

    def _mkdir(self, made_call: DiskCall) -> None:
        if self._name(made_call.path) not in self._names:
            self._add(made_call.path, _Folder())

    def _add(self, path: Path, node: _File | _Folder) -> None:
        number = len(self._nodes)
        self._nodes[number] = node
        self._names[self._name(path)] = number
        self._folder(path.parent).since.append(_Change(((path.name, number),)))

    def _write(self, made_call: DiskCall) -> None:
        self._file(made_call.path).since.append(made_call)

    _truncate = _write

    def _fsync(self, made_call: DiskCall) -> None:
        file = self._file(made_call.path)
        file.safe, file.since = file.after(_same), []

    _fdatasync = _fsync

    def _fsync_dir(self, made_call: DiskCall) -> None:
        if not made_call.path.is_relative_to(self._root):
            return
        folder = self._folder(made_call.path)
        folder.safe, folder.since = folder.after([True] * len(folder.since)), []

    def _replace(self, made_call: DiskCall) -> None:
        assert made_call.target is not None and made_call.target.parent == made_call.path.parent
        number = self._names.pop(self._name(made_call.path))
        self._names[self._name(made_call.target)] = number
        change = _Change(((made_call.path.name, None), (made_call.target.name, number)))
        self._folder(made_call.target.parent).since.append(change)

    def _link(self, made_call: DiskCall) -> None:
        assert made_call.target is not None
        number = self._names[self._name(made_call.path)]
        self._names[self._name(made_call.target)] = number
        self._folder(made_call.target.parent).since.append(
            _Change(((made_call.target.name, number),))
        )

    def _unlink(self, made_call: DiskCall) -> None:
        if self._names.pop(self._name(made_call.path), None) is not None:
            self._folder(made_call.path.parent).since.append(
                _Change(((made_call.path.name, None),))
            )

    # --- outcomes --------------------------------------------------------------------------

    def outcomes(self, most: int) -> Iterator[Tree]:
        """Yield what may be found if the power goes now: all of it, or ``most`` picked cases.

        Picked are: everything seen, nothing seen, one thing not seen or alone seen, names seen in
        their order up to some point, and others by chance that is the same every time.
        """
        folders = [n for n, node in self._nodes.items() if isinstance(node, _Folder) and node.since]
        files = [n for n, node in self._nodes.items() if isinstance(node, _File) and node.since]
        choices: list[list[object]] = [
            list(itertools.product((True, False), repeat=len(self._nodes[n].since)))
            for n in folders
        ]
        choices += [list(self._nodes[n].outcomes()) for n in files]  # type: ignore[union-attr]
        for picked in _picked(choices, most):
            names = dict(zip(folders, picked, strict=False))
            contents = dict(zip(files, picked[len(folders) :], strict=True))
            yield self._tree(names, contents)  # type: ignore[arg-type]

    def _tree(self, seen: dict[int, Sequence[bool]], contents: dict[int, bytes]) -> Tree:
        files: list[tuple[str, int, bytes]] = []
        folders: list[str] = []

        def walk(prefix: str, folder: _Folder, number: int) -> None:
            for name, entry in sorted(folder.after(seen.get(number, ())).items()):
                node = self._nodes[entry]
                if isinstance(node, _Folder):
                    folders.append(prefix + name)
                    walk(f"{prefix}{name}/", node, entry)
                else:
                    files.append((prefix + name, entry, contents.get(entry, node.safe)))

        top = self._nodes[0]
        assert isinstance(top, _Folder)
        walk("", top, 0)
        return Tree(tuple(files), tuple(folders))


def _picked(choices: list[list[object]], most: int) -> Iterator[tuple[object, ...]]:
    """Yield one of each list, in all combinations when there are at most ``most``."""
    total = 1
    for options in choices:
        total *= len(options)
    if total <= most:
        yield from itertools.product(*choices)
        return
    new, old = [c[0] for c in choices], [c[-1] for c in choices]
    cases = [tuple(new), tuple(old)]
    for place, options in enumerate(choices):
        for base in (new, old):
            cases += [(*base[:place], option, *base[place + 1 :]) for option in options]
    chance = random.Random(total)
    cases = list(dict.fromkeys(cases))
    chance.shuffle(cases)
    yield from cases[:most]
    for _ in range(most - len(cases)):
        yield tuple(chance.choice(options) for options in choices)


@dataclass
class State:
    """One thing that may be found.

    Attributes:
        tree: Files and folders.
        step: First call after which a power failure can lead to this state.
        promises: Levels acknowledged and begun at each instant that can lead to this state.
    """

    tree: Tree
    step: int
    promises: set[tuple[int, int]] = field(default_factory=set)


def states(
    before: Platter, events: Sequence[DiskCall | Promise], most: int, start: int = 0
) -> list[State]:
    """Return every state that a crash during ``events`` may leave, each once.

    A state that several instants can lead to must satisfy the expectations of all of them.

    Args:
        before: Disk before the events.
        events: Disk calls and promises, in their order.
        most: Maximum number of states per instant.
        start: First step after which the power can fail.
    """
    found: dict[Tree, State] = {}
    reported = begun = 0
    for step in range(len(events) + 1):
        for tree in before.outcomes(most) if step >= start else ():
            found.setdefault(tree, State(tree, step)).promises.add((reported, begun))
        if step == len(events):
            break
        event = events[step]
        if isinstance(event, DiskCall):
            before.replay(event)
        elif event.kind == "told":
            reported = event.level
        else:
            begun = event.level
    return list(found.values())
