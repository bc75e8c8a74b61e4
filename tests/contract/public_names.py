"""The snapshot ``public_names.txt``: every public name with its signature, and every command.

``python -m tests.contract.public_names > tests/contract/public_names.txt`` writes it anew. Its diff is
what a change means for programs: each line that goes or changes needs an entry in ``CHANGELOG.md``.
"""

from __future__ import annotations

import argparse
import importlib
import inspect
import re
import sys
from collections.abc import Iterator

import onetape
import onetape.aio
import onetape.testing
import onetape.yf
from src.data.cli import whole_parser

_ADDRESS = re.compile(r" at 0x[0-9a-f]+")


def snapshot(deep_paths: list[tuple[str, str]]) -> str:
    """Return the snapshot.

    Args:
        deep_paths: Documented modules below ``onetape.data``, each with the names taken from there.
    """
    modules = (onetape, onetape.aio, onetape.testing, onetape.yf)
    places = [(module.__name__, name) for module in modules for name in module.__all__]
    places += [
        (f"onetape.data.{path}", name) for path, names in deep_paths for name in names.split()
    ]
    seen: dict[object, str] = {}
    lines: list[str] = []
    for path, name in dict.fromkeys(places):
        value, own = getattr(importlib.import_module(path), name), f"{path}.{name}"
        first = seen.setdefault(value, own) if callable(value) else own
        lines += _lines(own, value) if first == own else [f"{own} = {first}"]
    return "\n".join([*sorted(lines), *_commands(whole_parser(), "onetape")]) + "\n"


def _lines(own: str, value: object) -> Iterator[str]:
    """Yield a line for a name, and one for each public member if it is a class of this project."""
    if not inspect.isclass(value):
        yield own + _signature(value)
        return
    parents = ", ".join(parent.__name__ for parent in value.__bases__ if parent is not object)
    yield f"{own}({parents})" if parents else own
    for member in sorted(set(dir(value))):
        if member != "__init__" and member.startswith("_"):
            continue
        home = next((c for c in value.__mro__ if member in vars(c)), object)
        if home.__module__.partition(".")[0] == "onetape":
            yield f"{own}.{member}{_signature(getattr(value, member))}"


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
