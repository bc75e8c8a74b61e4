"""Checks a fundamentals configuration file and returns the result instead of raising an error."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

from ...errors import ConfigError, RulesError
from .fundamentals_file import checked, find_file, read_file
from .fundamentals_rules import check

Verdict = tuple[bool, list[str]]


class FundamentalsConfigValidator:
    """Checks a fundamentals configuration, and reports all errors in it."""

    def validate_config(self, config: Any) -> Verdict:
        """Return whether a mapping is correct, and its errors as strings."""
        problems = [str(problem) for problem in check(config)]
        return not problems, problems

    def validate_config_file(self, config_path: str | os.PathLike[str]) -> Verdict:
        """Return whether a file is correct, and a list of its errors with their line numbers."""
        path = Path(config_path)
        try:
            checked(read_file(path), str(path))
        except RulesError as exc:
            return False, list(exc.problems)
        except ConfigError as exc:
            return False, [str(exc)]
        return True, []


def validate_fundamentals_config(config_path: str | os.PathLike[str] | None = None) -> Verdict:
    """Return whether a file is correct, and its errors.

    Args:
        config_path: Path of the file; by default ``./config/data/fundamentals.json`` if it exists.
    """
    try:
        path = config_path or find_file()
    except RulesError as exc:
        return False, list(exc.problems)
    return FundamentalsConfigValidator().validate_config_file(path) if path else (True, [])
