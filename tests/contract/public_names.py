"""The snapshot ``public_names.txt``: every public name with its signature, and every command.

``make lists`` writes it anew. Its diff is what a change means for programs: each line that goes or
changes needs an entry in ``CHANGELOG.md`` if it was in the last release. A member is listed at the
class that defines it: the classes below it, whose lines name their bases, have it too. Names of
ring A are promised; the others may change.
"""

from __future__ import annotations

import argparse
import importlib
import inspect
import re
import sys
from collections.abc import Iterator

from onetape.public import PUBLIC, UNLISTED, homes, homes_of
from src.data.cli import whole_parser
from tests.contract.source import modules
from tests.contract.way import ring_of

_ADDRESS = re.compile(r" at 0x[0-9a-f]+")
_RINGS = {f"onetape.data.{module.name}": ring_of(module) for module in modules()} | {
    "onetape.aio": "A"
}
_PARTS = {
    "A": "# Promised: the names of ring A",
    "B": "# May change in a minor version: all other names",
    "": "# The command",
}


def snapshot(deep_paths: list[tuple[str, str]]) -> str:
    """Return the snapshot.

    Args:
        deep_paths: Older modules below ``onetape.data``, each with the names taken from there. A name
            that has another, public one is not listed.
    """
    found = {
        f"{module}.{name}": home for module in PUBLIC for name, home in homes_of(module).items()
    }
    found |= {f"onetape.{name}": home for name, home in homes(UNLISTED).items()}
    older = {
        f"onetape.data.{path}.{name}": path for path, names in deep_paths for name in names.split()
    }
    lines: dict[str, list[str]] = {"A": [], "B": [], "": list(_commands(whole_parser(), "onetape"))}
    seen: dict[object, str] = {}
    for own, home in (found | older).items():
        path, _, name = own.rpartition(".")
        value = getattr(importlib.import_module(path), name)
        first = seen.setdefault(value, own) if callable(value) else own
        if first != own and own in older:
            continue  # the tests of older paths compare it
        lines[_part(_module(value, home))] += (
            [own + _described(value)] if first == own else [f"{own} = {first}"]
        )
    for cls in _classes(seen):
        part = _part(cls.__module__)
        own = seen.get(cls, f"{cls.__module__}.{cls.__qualname__}")
        if cls not in seen:
            lines[part].append(own + _described(cls))
        lines[part] += _members(own, cls)
    lines["A"].sort()
    lines["B"].sort()
    return "\n\n".join(f"{_PARTS[part]}\n\n" + "\n".join(lines[part]) for part in lines) + "\n"


def _part(module: str) -> str:
    """Return the part of the snapshot for the names that a module defines."""
    return "A" if _RINGS.get(module) == "A" else "B"


def _module(value: object, home: str) -> str:
    """Return the module that defines a value: a constant says nothing of it."""
    found = str(getattr(value, "__module__", ""))
    return found if found.startswith("onetape.") else f"onetape.data.{home}"


def _classes(seen: dict[object, str]) -> Iterator[type]:
    """Yield the classes of this project among some values, and the bases from which they have members."""
    classes = [cls for value in seen if inspect.isclass(value) for cls in value.__mro__]
    for cls in dict.fromkeys(classes):
        if cls.__module__.partition(".")[0] == "onetape" and (
            cls in seen or any(_members("", cls))
        ):
            yield cls


def _described(value: object) -> str:
    """Return the bases of a class, or the signature of anything else."""
    if not inspect.isclass(value):
        return _signature(value)
    parents = ", ".join(parent.__name__ for parent in value.__bases__ if parent is not object)
    return f"({parents})" if parents else ""


def _members(own: str, cls: type) -> Iterator[str]:
    """Yield a line for each public member that a class defines."""
    for member in sorted(vars(cls)):
        if member == "__init__" or not member.startswith("_"):
            yield f"{own}.{member}{_signature(getattr(cls, member))}"


def _signature(value: object) -> str:
    if not callable(value):
        return ""
    try:
        return _ADDRESS.sub("", str(inspect.signature(value)))
    except (TypeError, ValueError):
        return "(...)"


def _commands(parser: argparse.ArgumentParser, words: str) -> Iterator[str]:
    """Yield a line for each argument of a command and of those below it."""
    for name, nested in getattr(parser, "nested", {}).items():
        yield from _commands(nested, f"{words} {name}")
    for action in parser._actions:
        if isinstance(action, argparse._SubParsersAction):
            for name, below in sorted(action.choices.items()):
                yield from _commands(below, f"{words} {name}")
        elif action.dest != "help":
            names = ", ".join(action.option_strings) or action.dest
            choices = f" {{{','.join(map(str, action.choices))}}}" if action.choices else ""
            yield f"{words}: {names}{choices}{' ...' if action.nargs in ('*', '+') else ''}"


def main() -> None:
    """Print the snapshot."""
    from tests.contract.test_exports import DEEP_PATHS

    sys.stdout.write(snapshot(DEEP_PATHS))


if __name__ == "__main__":
    main()
