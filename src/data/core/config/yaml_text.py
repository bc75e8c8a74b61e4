"""A strict YAML reader for configuration files, which reports every error with its line.

Scalars such as `yes`, `NO`, `1:30` and `2024-01-01` remain strings; only true, false, null and
plain numbers are converted. The reader rejects duplicate keys (YAML would silently keep the last),
anchors, aliases and tags (which can make small files huge), nesting deeper than 20 levels, and more
than one document.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from typing import Any

import yaml

from ...errors import RulesError
from .schema import MOST_PROBLEMS, Path, Problem

MAX_BYTES = 1 << 20
MAX_DEPTH = 20

_INTEGER = re.compile(r"[-+]?[0-9]{1,18}")
_DECIMAL = re.compile(r"[-+]?(?:[0-9]+\.[0-9]*|\.[0-9]+|[0-9]+(?=[eE]))(?:[eE][-+]?[0-9]{1,3})?")
_NULLS = frozenset({"", "~", "null", "Null", "NULL"})
_TRUTHS = {"true": True, "True": True, "TRUE": True, "false": False, "False": False, "FALSE": False}
_LOADER = getattr(yaml, "CLoader", yaml.Loader)
_REFUSED = object()


class _TooDeepError(Exception):
    """The nesting is too deep for further reading."""


@dataclass
class YamlDocument:
    """The content of a YAML file.

    Attributes:
        value: The mapping; empty if nothing could be read.
        lines: Maps each path to its line, counted from 1.
        problems: Syntax errors; their line numbers are in :attr:`lines`.
    """

    value: dict[str, Any] = field(default_factory=dict)
    lines: dict[Path, int] = field(default_factory=dict)
    problems: list[Problem] = field(default_factory=list)

    def line_of(self, path: Path) -> int | None:
        """Return the line number of the element at a path, or of the nearest element that encloses it."""
        while path and path not in self.lines:
            path = path[:-1]
        return self.lines.get(path)

    def describe(self, problem: Problem) -> str:
        """Return a problem as text, with its line if it is known."""
        line = self.line_of(problem.path)
        return f"{problem} (line {line})" if line and problem.path else str(problem)

    def error(self, name: str, problems: Sequence[Problem]) -> RulesError:
        """Return an error that lists the problems in a file, ordered by line.

        Args:
            name: Name of the file.
            problems: At least one problem; if there are more than :data:`.schema.MOST_PROBLEMS`,
                only the first ones are reported.
        """
        listed = list(dict.fromkeys(problems[:MOST_PROBLEMS]))
        listed.sort(key=lambda problem: self.line_of(problem.path) or 0)
        texts = [self.describe(problem) for problem in listed]
        has_more = len(problems) > MOST_PROBLEMS
        count = "1 mistake" if len(texts) == 1 else f"{len(texts)} mistakes"
        count += " or more; the first are" if has_more else ""
        return RulesError(f"{name} has {count}:\n  " + "\n  ".join(texts), problems=texts)


def read_yaml(data: bytes) -> YamlDocument:
    """Read a file's bytes; errors are recorded in the document, never raised."""
    document = YamlDocument()
    if len(data) > MAX_BYTES:
        document.problems.append(Problem((), f"larger than {MAX_BYTES >> 20} MiB"))
        return document
    reader = _Reader(document)
    try:
        value = reader.read(data.decode("utf-8-sig"))
    except UnicodeDecodeError as exc:
        document.problems.append(Problem((), f"not UTF-8 (byte {exc.start})"))
    except yaml.MarkedYAMLError as exc:
        mark = exc.problem_mark or exc.context_mark
        where = f" on line {mark.line + 1}, column {mark.column + 1}" if mark else ""
        document.problems.append(Problem((), f"invalid YAML{where}: {exc.problem or exc.context}"))
    except yaml.YAMLError as exc:
        document.problems.append(Problem((), f"invalid YAML: {str(exc).splitlines()[0]}"))
    except _TooDeepError:
        pass
    else:
        if isinstance(value, dict):
            document.value = value
        elif value is not None:
            document.problems.append(Problem((), "must contain keys (`key: value`)"))
    return document


class _Reader:
    """Builds Python values from the parser's events; use one reader per file."""

    def __init__(self, document: YamlDocument) -> None:
        self._lines = document.lines
        self._problems = document.problems
        self._events: Iterator[Any] = iter(())

    def read(self, text: str) -> Any:
        """Return the only document in ``text``, or None if that document is empty or absent."""
        self._events = yaml.parse(text, Loader=_LOADER)
        value: Any = None
        documents = 0
        for event in self._events:
            if isinstance(event, yaml.DocumentStartEvent):
                documents += 1
                node = self._node(next(self._events), ())
                value = node if documents == 1 else value
        if documents > 1:
            self._problems.append(Problem((), f"has {documents} documents, but must have one"))
        return None if value is _REFUSED else value

    def _node(self, event: Any, path: Path) -> Any:
        self._lines.setdefault(path, event.start_mark.line + 1)
        if isinstance(event, yaml.AliasEvent):
            return self._refuse(path, f"aliases (*{event.anchor}) are not allowed; write it out")
        if event.anchor is not None:
            self._refuse(path, f"anchors (&{event.anchor}) are not allowed")
        if event.tag is not None and event.tag != "!":
            self._refuse(path, "tags (!...) are not allowed")
        if isinstance(event, yaml.ScalarEvent):
            return _scalar(event.value) if event.implicit[0] else event.value
        if len(path) >= MAX_DEPTH:
            self._refuse(path[:3], f"nested deeper than {MAX_DEPTH}")
            raise _TooDeepError
        if isinstance(event, yaml.SequenceStartEvent):
            return self._sequence(path)
        return self._mapping(path)

    def _sequence(self, path: Path) -> list[Any]:
        values: list[Any] = []
        for event in self._events:
            if isinstance(event, yaml.SequenceEndEvent):
                break
            value = self._node(event, (*path, len(values)))
            if value is not _REFUSED:
                values.append(value)
        return values

    def _mapping(self, path: Path) -> dict[str, Any]:
        values: dict[str, Any] = {}
        for event in self._events:
            if isinstance(event, yaml.MappingEndEvent):
                break
            key = self._key(event, path)
            line = event.start_mark.line + 1
            if key is None:
                self._node(next(self._events), (*path, "?"))
            elif key in values:
                first = self._lines[(*path, key)]
                self._refuse((*path, key), f"given twice: on line {first} and again on line {line}")
                self._node(next(self._events), (*path, key, "again"))
            else:
                self._lines[(*path, key)] = line
                values[key] = self._node(next(self._events), (*path, key))
        return {key: value for key, value in values.items() if value is not _REFUSED}

    def _key(self, event: Any, path: Path) -> str | None:
        """Return a key as it is written, because keys are always strings."""
        if isinstance(event, yaml.ScalarEvent) and event.anchor is None:
            return str(event.value)
        self._refuse(path, f"a key must be plain text (line {event.start_mark.line + 1})")
        if not isinstance(event, yaml.AliasEvent | yaml.ScalarEvent):
            self._node(event, (*path, "?"))
        return None

    def _refuse(self, path: Path, what: str) -> object:
        self._problems.append(Problem(path, what))
        return _REFUSED


def _scalar(text: str) -> Any:
    """Parse a plain scalar: null, a boolean or a number, or else the text itself."""
    if text in _NULLS:
        return None
    if text in _TRUTHS:
        return _TRUTHS[text]
    if _INTEGER.fullmatch(text):
        return int(text)
    return float(text) if _DECIMAL.fullmatch(text) else text
