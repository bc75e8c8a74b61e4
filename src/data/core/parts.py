"""Lookup of the modules of upper packages, which may be missing from an installation."""

from __future__ import annotations

from importlib import import_module
from typing import Any

_ROOT = __name__.rsplit(".", 2)[0]


def load_part(module: str) -> Any:
    """Import a module of an upper package (``jobs.validation.gaps``) when one of its names is first used.

    Raises:
        MissingExtraError: The package, or a package that it needs, is not installed.
    """
    name = f"{_ROOT}.{module}"
    try:
        return import_module(name)
    except ModuleNotFoundError as error:
        if not f"{error.name}.".startswith(f"{_ROOT}."):
            raise
        from ..errors import MissingExtraError

        reason = f"this installation of onetape lacks {error.name}, which is needed here"
        raise MissingExtraError(reason, hint="reinstall onetape") from error
