"""A lookup from the cache sends no request and loads no HTTP library or calendar."""

from __future__ import annotations

from pathlib import Path

import pytest

from src.data.core.cache.beside.fundamentals_cache import FundamentalsCache
from src.data.core.clock import SystemClock
from src.data.core.model.market.fundamentals import Fact, Snapshot
from tests.e2e.fresh import Fresh


def test_a_hit_loads_no_http_library_and_no_calendar(
    fresh: Fresh, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("FMP_API_KEY", "CANARY-0123456789")
    monkeypatch.delenv("ALPHA_VANTAGE_API_KEY", raising=False)
    for vendor in ("fmp", "yahoo"):  # who needs no key is asked, too
        said = Snapshot(vendor, "AAPL", SystemClock().now_ms(), {"beta": Fact(1.5, "ratio")},
                        data_types=("profile",))  # fmt: skip
        FundamentalsCache(tmp_path).keep(said)
    program = (
        "import sys\n"
        "from src.data import DataManager\n"
        f"record = DataManager({str(tmp_path)!r}).get_fundamentals('AAPL')\n"
        "assert record['beta'] == 1.5 and not record['_metadata']['providers_failed']\n"
        "own = [m for m in sys.modules if m.startswith('onetape.data.core.vendors.')]\n"
        "assert not [m for m in own if m.endswith(('.base', '.bars'))], own\n"
        "print({'requests', 'exchange_calendars', 'sqlite3', 'yfinance'} & sys.modules.keys())"
    )
    assert fresh.run(program) == "set()\n"
