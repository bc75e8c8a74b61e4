"""The optional file ``config/donotshare/donotshare.py`` of older installations.

The file is parsed and never executed, because it merely happens to be in the folder where a program
was started. The file may assign, at the top level, a literal, ``os.getenv("NAME")`` (possibly with
a literal default), ``os.environ["NAME"]`` or ``os.environ.get("NAME")``. Any other value is ignored
with one warning that names its line. Only names that this library knows are looked up, and the
environment takes precedence.
"""

from __future__ import annotations

import ast
import logging
import os
import sys
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path

_RELATIVE = Path("config", "donotshare", "donotshare.py")
_LOOKUPS = ("os.getenv", "os.environ.get", "getenv", "environ.get")
_MAX_BYTES = 1 << 20
_log = logging.getLogger(__name__)


@dataclass(frozen=True)
class _NamedValue:
    """The value of a name: a literal, or an environment variable with its default."""

    literal: object = None
    variable: str = ""

    def text(self) -> str:
        """Return the current value, or an empty string if it is not set."""
        set_now = os.environ.get(self.variable) if self.variable else None
        value = self.literal if set_now is None else set_now
        return "" if value is None else str(value)


def private_setting(name: str) -> str:
    """Return the value of ``name`` in the user's private settings file, or an empty string."""
    path = private_path()
    if path is None:
        return ""
    values, unreadable = content_of(path)
    if name in unreadable:
        _warn_once(path, name, unreadable[name])
    value = values.get(name)
    return value.text() if value is not None else ""


def private_values() -> object | None:
    """Return an object that stays the same until the private file's content changes."""
    path = private_path()
    return None if path is None else content_of(path)[0]


def variable_behind(name: str) -> str:
    """Return the environment variable that the private file assigns to ``name``, or an empty string."""
    path = private_path()
    value = None if path is None else content_of(path)[0].get(name)
    return value.variable if value is not None else ""


def is_set(name: str, environ: Mapping[str, str] | None) -> bool:
    """Return whether a variable is set in the environment itself, not in the private file."""
    return bool((os.environ if environ is None else environ).get(name, "").strip())


@lru_cache(maxsize=1)
def private_path() -> Path | None:
    """Return the private file from the first import-path entry that contains one, or None.

    The search is performed only once per process, because keys are looked up for every request.
    """
    for entry in dict.fromkeys(["", *sys.path]):
        path = Path(entry) / _RELATIVE
        try:
            if path.is_file():
                return path.absolute()
        except (OSError, ValueError):  # the folder is gone or not readable, or an entry is invalid
            continue
    return None


@lru_cache(maxsize=4)
def content_of(path: Path) -> tuple[Mapping[str, _NamedValue], Mapping[str, int]]:
    """Return a file's values by name, and the line number of each name with an unsupported value."""
    values: dict[str, _NamedValue] = {}
    unreadable: dict[str, int] = {}
    for name, node in _assignments(path):
        value = _value(node)
        values.pop(name, None)
        unreadable.pop(name, None)
        if value is None:
            unreadable[name] = node.lineno
        else:
            values[name] = value
    return values, unreadable


def _assignments(path: Path) -> Iterator[tuple[str, ast.expr]]:
    try:
        with path.open("rb") as file:
            data = file.read(_MAX_BYTES + 1)
        if len(data) > _MAX_BYTES:
            raise ValueError(f"larger than {_MAX_BYTES >> 20} MiB")
        tree = ast.parse(data)
    except (OSError, ValueError, SyntaxError, RecursionError, MemoryError) as exc:
        line = f", line {exc.lineno}" if isinstance(exc, SyntaxError) else ""
        _log.warning("%s was not read: %s%s", path, type(exc).__name__, line)
        return
    for node in tree.body:
        if isinstance(node, ast.AnnAssign) and node.value is not None:
            targets: list[ast.expr] = [node.target]
        elif isinstance(node, ast.Assign):
            targets = node.targets
        else:
            continue
        assert node.value is not None
        yield from ((t.id, node.value) for t in targets if isinstance(t, ast.Name))


def _value(node: ast.expr) -> _NamedValue | None:
    """Return the value of an expression, or None if the expression would have to be executed."""
    if isinstance(node, ast.Constant):
        return _NamedValue(node.value)
    if isinstance(node, ast.Subscript) and _dotted_name(node.value) in ("os.environ", "environ"):
        return _parse_getenv([node.slice])
    if isinstance(node, ast.Call) and not node.keywords and _dotted_name(node.func) in _LOOKUPS:
        return _parse_getenv(node.args)
    return None


def _parse_getenv(arguments: Sequence[ast.expr]) -> _NamedValue | None:
    """Parse the literal arguments of ``os.getenv``: a variable name and, optionally, a default."""
    literals = [a.value for a in arguments if isinstance(a, ast.Constant)]
    if len(literals) != len(arguments) or len(literals) not in (1, 2):
        return None
    name, default = literals[0], literals[1] if len(literals) == 2 else None
    return _NamedValue(default, name) if isinstance(name, str) else None


def _dotted_name(node: ast.expr) -> str:
    """Return a dotted name as text, or an empty string for any other expression."""
    if isinstance(node, ast.Name):
        return node.id
    if isinstance(node, ast.Attribute):
        owner = _dotted_name(node.value)
        return f"{owner}.{node.attr}" if owner else ""
    return ""


@lru_cache(maxsize=256)
def _warn_once(path: Path, name: str, line: int) -> None:
    _log.warning(
        "%s, line %d: %s is ignored; only literals, os.getenv(...) and os.environ[...] are read, "
        "and nothing is executed",
        path,
        line,
        name,
    )


def variable_of(name: str, environ: Mapping[str, str] | None) -> str:
    """Return a variable's value or else the private module's; a blank value counts as not set."""
    if environ is not None:
        return environ.get(name, "").strip()
    return os.environ.get(name, "").strip() or private_setting(name).strip()
