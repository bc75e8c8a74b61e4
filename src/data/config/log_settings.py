"""What the environment says about logging."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from .settings import _variable


@dataclass(frozen=True)
class LogSettings:
    """How to log, as far as anybody said so; empty where nobody did.

    Attributes:
        format: ``ONETAPE_LOG``: ``text`` or ``json``; unchecked.
        level: ``ONETAPE_LOG_LEVEL``: ``debug``, ``info``, ``warning`` or ``error``; unchecked.
    """

    format: str = ""
    level: str = ""


def log_settings(environ: Mapping[str, str] | None = None) -> LogSettings:
    """Read the two variables; None is the process' own environment."""
    return LogSettings(
        _variable("ONETAPE_LOG", environ).lower(), _variable("ONETAPE_LOG_LEVEL", environ).lower()
    )
