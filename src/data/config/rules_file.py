"""The rules file: where it lies, how it is read, and the packaged one beneath it."""

from __future__ import annotations

from collections.abc import Mapping
from functools import lru_cache
from pathlib import Path
from typing import Any

from ..errors import ConfigError, RulesError
from ..model.rules import Rules
from ..policy.rules import overlay, parse
from . import packaged
from .packaged import packaged_path
from .rules_schema import check, check_symbols, check_whole
from .schema import Problem
from .yaml_text import MAX_BYTES, Document, read_yaml

FILE_NAME = "provider_rules.yaml"
RELATIVE = packaged.RELATIVE / FILE_NAME

_PACKAGED = "the packaged rules"


def load_rules(path: Path | None = None) -> Rules:
    """Return the packaged rules, with the user's file laid over them where there is one.

    Raises:
        RulesError: a file has mistakes; all of them are listed with their lines.
        ConfigError: the file cannot be read.
    """
    if path is None:
        return packaged_rules()
    return _user_rules(path, _read(path))


def rules_of(mapping: Mapping[str, Any], name: str = "the mapping") -> Rules:
    """Check a whole mapping and turn it into rules, without the packaged ones beneath.

    Raises:
        RulesError: it has mistakes; all of them are listed.
    """
    _raise_for(check(mapping), Document(), name)
    return _whole(mapping, Document(), name)


@lru_cache(maxsize=4)
def _user_rules(path: Path, data: bytes) -> Rules:
    """Read a user's file; settings, selector and wiring all ask for the same one."""
    document = read_yaml(data)
    _raise_for([*document.problems, *check(document.value)], document, str(path))
    whole = overlay(packaged_rules().plain, document.value)
    return _whole(whole, document, str(path))


@lru_cache(maxsize=1)
def packaged_rules() -> Rules:
    """Return the rules that come with the library, read once per process."""
    document = read_yaml(packaged_bytes())
    _raise_for([*document.problems, *check(document.value)], document, _PACKAGED)
    return _whole(document.value, document, _PACKAGED)


def packaged_bytes() -> bytes:
    """Return the packaged file: from the installed package, else from the source tree."""
    return _read(packaged_path(FILE_NAME))


def _read(path: Path) -> bytes:
    try:
        with path.open("rb") as file:
            return file.read(MAX_BYTES + 1)
    except OSError as exc:
        raise ConfigError(f"the rules file {path} cannot be read: {exc.strerror}") from exc


def _whole(mapping: Mapping[str, Any], document: Document, name: str) -> Rules:
    """Turn a checked mapping into rules, with a look at what only the whole can tell."""
    _raise_for(check_whole(mapping), document, name)
    rules = parse(mapping)
    _raise_for(check_symbols(rules.classification), document, name)
    return rules


def _raise_for(problems: list[Problem], document: Document, name: str) -> None:
    if not problems:
        return
    lines = {problem: document.line_of(problem.path) for problem in problems}
    ordered = sorted(lines, key=lambda problem: lines[problem] or 0)
    told = [_told(problem, lines[problem]) for problem in ordered]
    count = "1 mistake" if len(told) == 1 else f"{len(told)} mistakes"
    raise RulesError(f"{name} has {count}:\n  " + "\n  ".join(told), problems=told)


def _told(problem: Problem, line: int | None) -> str:
    return f"{problem} (line {line})" if line and problem.path else str(problem)
