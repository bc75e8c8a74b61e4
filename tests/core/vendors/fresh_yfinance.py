"""yfinance keeps one object per process, and cookies in the user's cache folder."""

from __future__ import annotations

from importlib.util import find_spec
from pathlib import Path

import pytest


def forget_yfinance(patch: pytest.MonkeyPatch, folder: Path) -> None:
    """Let yfinance begin as in a new process of another user, until the end of the test."""
    patch.setenv("XDG_CACHE_HOME", str(folder))
    if find_spec("yfinance"):
        import yfinance
        from yfinance import data

        yfinance.set_tz_cache_location(str(folder))
        # It keeps one object of each class.
        patch.setattr(data, "YfData", type("YfData", (data.YfData,), {}))
