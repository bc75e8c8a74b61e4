"""Checks the text of a rules file and turns it into rules, reporting every error with its line."""

from __future__ import annotations

import logging
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from ...errors import RulesError
from .classification import check_symbols
from .rules import Rules, check, check_whole, not_obeyed, overlay, parse
from .schema import Problem
from .trust import HINT
from .yaml_text import YamlDocument, read_yaml

_log = logging.getLogger(__name__)


def read_rules(data: bytes, name: str, beneath: Mapping[str, Any] | None = None) -> Rules:
    """Read a rules file.

    Args:
        data: Content of the file.
        name: Name of the file, for messages.
        beneath: Checked mapping that the file overrides; None if the file is complete on its own.

    Raises:
        RulesError: The file is invalid; the message lists every error with its line number.
    """
    document = read_yaml(data)
    _raise_for([*document.problems, *check(document.value)], document, name)
    if ignored := not_obeyed(document.value):
        listed = "; ".join(document.describe(problem) for problem in ignored)
        _log.warning("%s: entries without effect: %s", name, listed)
    whole = document.value if beneath is None else overlay(beneath, document.value)
    return _parse_whole(whole, document, name)


def checked_rules(mapping: Mapping[str, Any], name: str) -> Rules:
    """Check a complete mapping and convert it to rules.

    Raises:
        RulesError: The mapping is invalid; the message lists every error.
    """
    _raise_for(check(mapping), YamlDocument(), name)
    return _parse_whole(mapping, YamlDocument(), name)


def found_error(path: Path, data: bytes, problems: Sequence[Problem]) -> RulesError:
    """Return the error for entries that are not allowed in a file not named explicitly by the user."""
    document = read_yaml(data)
    listed = [document.describe(problem) for problem in problems]
    return RulesError(
        f"{path} was found automatically, so these entries are not allowed in it:\n  "
        + "\n  ".join(listed),
        problems=listed,
        hint=HINT,
    )


def _parse_whole(mapping: Mapping[str, Any], document: YamlDocument, name: str) -> Rules:
    """Run the checks that need the complete mapping, and convert the mapping to rules."""
    _raise_for(check_whole(mapping), document, name)
    rules = parse(mapping)
    _raise_for(check_symbols(rules.classification), document, name)
    return rules


def _raise_for(problems: list[Problem], document: YamlDocument, name: str) -> None:
    if problems:
        raise document.error(name, problems)
