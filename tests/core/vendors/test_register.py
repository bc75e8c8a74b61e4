"""``onetape.register``: a class of a notebook is a vendor without a package."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

import onetape
from src.data.cli import main
from src.data.core.model.identity.kind import Basis, Kind
from src.data.core.model.market.bars import Bar, BarTable
from src.data.core.model.request.capabilities import Capabilities, Fetched, FetchQuery
from src.data.core.model.time.instant import DAY_MS
from src.data.core.vendors.base import BaseDataDownloader
from src.data.data_manager import DataManager
from src.data.errors import ConfigError, RulesError, UnknownProviderError
from tests.core.vendors.packages import PackageFolder, forget, package_folder

DAYS = ("2024-01-01", "2024-01-04")
LATER = ("2024-02-01", "2024-02-04")
RULES = "crypto: {primary: note, backup: [binance]}\n"


@pytest.fixture(autouse=True)
def nothing_registered() -> Iterator[None]:
    """Forget the registered vendors after each test."""
    yield
    forget()


def vendor(close: float, name: Any = "note") -> type[BaseDataDownloader]:
    """Return a class as a notebook cell does, a new one in each run."""
    served = Capabilities(
        frozenset({"crypto"}),
        {"1d": "1d"},
        kinds={"crypto": Kind("24h", "clock", "here", volume="base")},
    )

    def fetch(self: BaseDataDownloader, query: FetchQuery) -> Fetched:
        days = range(-(-query.span.start // DAY_MS) * DAY_MS, query.span.end, DAY_MS)
        bars = [Bar(at, 10.0, 12.0, 9.0, close, 5.0) for at in days]
        kind = served.kind(query.instrument, query.timeframe)
        return Fetched(BarTable.from_bars(bars), self.name, kind, Basis("raw"), query.now_ms)

    made = {"name": name, "capabilities": served, "fetch": fetch, "__module__": "__main__"}
    return type("Note", (BaseDataDownloader,), made)


def closes(manager: DataManager, days: tuple[str, str] = DAYS, **wishes: Any) -> set[float]:
    frame = manager.get_ohlcv("BTCUSDT", "1d", *days, **wishes)
    assert frame.attrs["onetape"]["vendors"] == ["note"]
    return set(frame["close"])


@pytest.fixture
def rules(tmp_path: Path) -> Path:
    """Return a rules file that names ``note`` for crypto, with Binance as its backup."""
    path = tmp_path / "rules.yaml"
    path.write_text(RULES)
    return path


def test_a_registered_class_can_be_named_in_calls_and_rules(tmp_path: Path, rules: Path) -> None:
    cls = vendor(11.0)
    assert onetape.register(cls) is cls
    assert closes(DataManager(tmp_path / "pinned"), provider="note") == {11.0}
    assert closes(DataManager(tmp_path / "ruled", rules)) == {11.0}


def test_a_cell_that_is_run_again_replaces_its_class(tmp_path: Path, rules: Path) -> None:
    onetape.register(vendor(11.0))
    pinned, ruled = DataManager(tmp_path / "pinned"), DataManager(tmp_path / "ruled", rules)
    assert closes(pinned, provider="note") == closes(ruled) == {11.0}
    onetape.register(vendor(10.5))
    assert closes(pinned, LATER, provider="note") == {10.5}
    assert closes(ruled, LATER) == {10.5}


def test_a_class_that_could_not_be_created_is_created_once_repaired(
    tmp_path: Path, rules: Path
) -> None:
    broken = vendor(11.0)
    broken.__init__ = lambda *_, **__: {}["k"]  # type: ignore[method-assign]
    onetape.register(broken)
    manager = DataManager(tmp_path / "cache", rules)
    assert manager.provider_selector.get_provider_with_failover("BTCUSDT", "1d") == ["binance"]
    onetape.register(vendor(11.0))
    assert closes(manager) == {11.0}


@pytest.mark.parametrize(
    ("cls", "why"),
    [
        (lambda: vendor(1.0, "binance"), "one of onetape's own"),
        (lambda: vendor(1.0, "bnc"), "one of onetape's own"),
        (lambda: vendor(1.0, "Not One"), "lowercase letters"),
        (lambda: vendor(1.0, ""), "lowercase letters"),
        (lambda: vendor(1.0, 5), "lowercase letters"),
        (lambda: 5, "not a subclass of BaseDataDownloader"),
        (lambda: vendor(1.0)(), "not a subclass of BaseDataDownloader"),
    ],
)
def test_a_class_that_cannot_be_a_vendor_is_refused(cls: Callable[[], Any], why: str) -> None:
    with pytest.raises(ConfigError, match=why):
        onetape.register(cls())


def test_the_name_of_an_installed_vendor_plugin_cannot_be_registered(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    made: PackageFolder
    with package_folder(tmp_path, monkeypatch) as made:
        made.put("note_one", "", {"note": "note_one:Note"})
        with pytest.raises(ConfigError, match="note-one already uses this name"):
            onetape.register(vendor(1.0))


def test_the_error_for_an_unknown_vendor_mentions_packages_not_installed(
    tmp_path: Path, rules: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    how = "pip install -e"
    with pytest.raises(RulesError, match=how):
        DataManager(tmp_path / "cache", rules)
    with pytest.raises(UnknownProviderError) as raised:
        DataManager(tmp_path / "cache").get_ohlcv("BTCUSDT", "1d", *DAYS, provider="note")
    assert how in str(raised.value.hint)
    assert "onetape.register" in str(raised.value.hint)
    assert main(["providers", "note"]) != 0
    assert how in " ".join(capsys.readouterr().err.split())
