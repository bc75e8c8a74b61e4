"""Loads the user's rules file and the packaged defaults.

Reading and checking a YAML file takes longer than most short programs run. The packaged file
therefore also comes in parsed form, as JSON with the digest of the YAML file, which `make docs`
writes. If the digest does not match, as after a manual change, the YAML file is used.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from functools import lru_cache
from hashlib import sha256
from pathlib import Path
from typing import Any

from ...errors import ConfigError
from . import packaged
from .packaged import packaged_path
from .rules import Rules, parse
from .schema import Problem
from .trust import provider_problems

FILE_NAME = "provider_rules.yaml"
RELATIVE = packaged.RELATIVE / FILE_NAME

AS_READ = Path(__file__).with_name("packaged_rules.json")


def load_rules(path: Path | None = None) -> Rules:
    """Return the packaged provider rules, overridden by the user's file if it exists.

    Raises:
        RulesError: A file is invalid; the message lists every error with its line number.
        ConfigError: The file cannot be read.
    """
    if path is None:
        return packaged_rules()
    from .yaml_text import MAX_BYTES

    return _user_rules(path, _read(path, MAX_BYTES + 1))


def check_found_rules(path: Path) -> None:
    """Reject a rules file not named by the user if it names third-party hosts or variables.

    Raises:
        RulesError: The file is invalid, or contains an entry that is allowed only in a file named
            by the user.
        ConfigError: The file cannot be read.
    """
    rules = load_rules(path)
    packaged_providers = packaged_rules().providers
    problems = [
        problem
        for name, entry in rules.providers.items()
        if entry != packaged_providers.get(name)
        for problem in provider_problems(name, entry)
    ]
    if rules.store.url:
        problems.append(Problem(("store", "url"), "not allowed in an automatically found file"))
    if problems:
        from .rules_parser import found_error

        raise found_error(path, _read(path), problems)


def rules_of(mapping: Mapping[str, Any], name: str = "the mapping") -> Rules:
    """Check a complete mapping and convert it to rules; the packaged rules are not used as a base.

    Raises:
        RulesError: The mapping is invalid; the message lists every error.
    """
    from .rules_parser import checked_rules

    return checked_rules(mapping, name)


@lru_cache(maxsize=4)
def _user_rules(path: Path, data: bytes) -> Rules:
    """Parse a user's rules file; cached, because several parts of the library load the same file."""
    from .rules_parser import read_rules

    return read_rules(data, str(path), packaged_rules().plain)


@lru_cache(maxsize=1)
def packaged_rules() -> Rules:
    """Return the rules included in the library, which are read once per process."""
    data = packaged_bytes()
    mapping = _load_json(data)
    if mapping is not None:
        return parse(mapping)
    from .rules_parser import read_rules

    return read_rules(data, "the packaged rules")


def packaged_bytes() -> bytes:
    """Return the content of the packaged rules file, from the installed package or the source tree."""
    return _read(packaged_path(FILE_NAME))


def _load_json(data: bytes) -> dict[str, Any] | None:
    """Load the packaged rules' JSON; None if the JSON was not made from the YAML in ``data``."""
    try:
        document = json.loads(AS_READ.read_bytes())
        fits = document["sha256"] == sha256(data).hexdigest()
        return dict(document["rules"]) if fits else None
    except (OSError, ValueError, TypeError, KeyError):  # the YAML file is read instead
        return None


def _read(path: Path, most: int = -1) -> bytes:
    try:
        with path.open("rb") as file:
            return file.read(most)
    except OSError as exc:
        raise ConfigError(f"the rules file {path} cannot be read: {exc.strerror}") from exc
