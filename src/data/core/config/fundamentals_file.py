"""The fundamentals file: its location, how it is read, and the packaged defaults."""

from __future__ import annotations

import logging
from collections.abc import Mapping
from functools import lru_cache
from pathlib import Path
from typing import Any

from ...errors import ConfigError
from . import packaged
from .fundamentals_rules import FundamentalsRules, check, parse, unread
from .packaged import is_packaged, packaged_path
from .rules_parser import found_error
from .schema import vendor_name
from .trust import variable_problems
from .yaml_text import MAX_BYTES, read_yaml

FILE_NAME = "fundamentals.json"
RELATIVE = packaged.RELATIVE / FILE_NAME

_log = logging.getLogger(__name__)


def find_file(rules_path: Path | None = None, cwd: Path | None = None) -> Path | None:
    """Return the path of the user's fundamentals file, next to the rules file or in the usual place.

    The result is None if neither exists. The packaged file does not count as the user's.

    Raises:
        RulesError: The file in the usual place is invalid, or names a variable that does not
            contain one of the vendor's own keys.
        ConfigError: The file cannot be read.
    """
    paths = [rules_path.parent / FILE_NAME] if rules_path else []
    try:
        paths.append((cwd or Path.cwd()) / RELATIVE)
        path = next((p for p in paths if p.is_file() and not is_packaged(p, FILE_NAME)), None)
    except OSError:  # the working folder is gone or not accessible
        return None
    if path is not None and path == paths[-1]:
        _check_found(path)
    return path


def _check_found(path: Path) -> None:
    """Reject a file not named by the user if it names variables other than a vendor's own."""
    data = _read(path)
    settings = checked(data, str(path)).get("provider_settings") or {}
    problems = [
        problem
        for name, entry in settings.items()
        for problem in variable_problems(
            vendor_name(name),
            (entry or {}).get("api_key_env"),
            ("provider_settings", name, "api_key_env"),
        )
    ]
    if problems:
        raise found_error(path, data, problems)


def load_fundamentals_rules(path: Path | None = None) -> FundamentalsRules:
    """Return the packaged rules for fundamentals, overridden by the user's file if it exists.

    Raises:
        RulesError: A file is invalid; the message lists every error with its line number.
        ConfigError: The file cannot be read.
    """
    return _packaged_rules() if path is None else _user(path, _read(path))


@lru_cache(1)
def _packaged_rules() -> FundamentalsRules:
    return parse(_packaged_plain())


@lru_cache(1)
def _packaged_plain() -> Mapping[str, Any]:
    return checked(_read(packaged_path(FILE_NAME)), "the packaged fundamentals file")


@lru_cache(4)
def _user(path: Path, data: bytes) -> FundamentalsRules:
    mapping = checked(data, str(path))
    for what in unread(mapping):
        _log.warning("%s: %s", path, what)
    return parse(_overlay(_packaged_plain(), mapping))


def checked(data: bytes, name: str) -> Mapping[str, Any]:
    """Parse and check the content of a fundamentals file.

    Raises:
        RulesError: The file is invalid; the message lists every error with its line number.
    """
    # JSON is read as YAML, of which it is a subset: this gives line numbers and detects duplicate
    # keys.
    document = read_yaml(data.expandtabs(1))
    problems = [*document.problems, *check(document.value)]
    if problems:
        raise document.error(name, problems)
    return document.value


def read_file(path: Path) -> bytes:
    """Return the bytes of a fundamentals file; for errors, see :func:`load_fundamentals_rules`."""
    return _read(path)


def _read(path: Path) -> bytes:
    try:
        with path.open("rb") as file:
            return file.read(MAX_BYTES + 1)
    except OSError as exc:
        raise ConfigError(f"the fundamentals file {path} cannot be read: {exc.strerror}") from exc


def _overlay(base: Any, user: Any) -> Any:
    if not isinstance(base, Mapping) or not isinstance(user, Mapping):
        return base if user is None else user
    return {**base, **{k: _overlay(base.get(k), v) for k, v in user.items()}}
