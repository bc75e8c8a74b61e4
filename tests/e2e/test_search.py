"""Symbol search by name over real sockets: vendors queried, results kept, symbols suggested."""

from __future__ import annotations

import shlex
import threading
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from datetime import date, datetime
from pathlib import Path
from typing import Any

import pytest

from src.data.cli import whole_parser
from src.data.core.clock import ManualClock
from src.data.core.model.identity.listings import Listing
from src.data.data_manager import DataManager
from src.data.errors import (
    AllProvidersFailedError,
    IncompleteDataWarning,
    QueryError,
    UnknownSymbolError,
)
from tests.vendor_server import Fault, VendorServer
from tests.vendor_server.keyed import KEY
from tests.vendor_server.listings import Listing as Traded

APPLE = Listing("AAPL", "Apple Inc.", "NMS", "stock", "USD", "yahoo")
KEYS = {"fmp": "FMP_API_KEY", "eodhd": "EODHD_API_KEY", "finnhub": "FINNHUB_API_KEY",
        "twelvedata": "TWELVE_DATA_API_KEY"}  # fmt: skip


def test_a_search_for_a_name_finds_its_symbol(manager: DataManager, vendors: VendorServer) -> None:
    assert manager.search("apple") == [APPLE]
    assert (vendors.count("yahoo"), vendors.count("binance")) == (1, 1)
    assert len(manager.get_ohlcv(manager.search("APPLE inc")[0].symbol, "1d", bars=2)) == 2
    assert APPLE.as_dict() == {"symbol": "AAPL", "name": "Apple Inc.", "venue": "NMS",
                               "type": "stock", "currency": "USD", "vendor": "yahoo"}  # fmt: skip


def test_pairs_come_from_the_list_of_their_exchange(manager: DataManager) -> None:
    found = manager.search("btc")
    assert [one.symbol for one in found[:2]] == ["BTCUSD", "BTCUSDT"]
    pair = next(one for one in found if one.symbol == "BTCUSDT")
    assert pair == Listing("BTCUSDT", "BTC/USDT", "Binance", "crypto", "USDT", "binance")
    assert [one.symbol for one in manager.search("btc", 1)] == ["BTCUSD"]


def test_results_of_a_search_are_kept_for_a_week(
    make: Callable[[], DataManager], vendors: VendorServer, clock: ManualClock
) -> None:
    assert make().search("apple") == [APPLE]
    assert make().search("nothing like it") == []
    asked = vendors.count()
    clock.advance(6 * 86_400)
    manager = make()
    assert manager.search(" Apple ") == [APPLE]
    assert manager.search("nothing like it") == []
    assert vendors.count() == asked
    clock.advance(2 * 86_400)
    assert manager.search("apple") == [APPLE]
    assert vendors.count() == asked + 2


def test_a_result_of_a_search_under_a_clock_that_was_ahead_is_not_kept_until_then(
    make: Callable[[], DataManager], vendors: VendorServer, clock: ManualClock
) -> None:
    now_ms = clock.now_ms()
    clock.advance(400 * 86_400)
    make().search("apple")
    clock.set(now_ms)
    asked = vendors.count("yahoo")
    for _ in range(2):
        assert make().search("apple") == [APPLE]
        assert vendors.count("yahoo") == asked + 1


def test_an_offline_search_uses_kept_results_and_packaged_names(
    manager: DataManager, vendors: VendorServer
) -> None:
    # Nothing is held yet: a packaged list of the best-known names is all there is.
    packaged = manager.search("apple", offline=True)
    assert [(one.symbol, one.vendor) for one in packaged] == [("AAPL", "packaged")]
    assert [one.symbol for one in manager.search("bitcoin", 2, offline=True)] == [
        "BTC-USD",
        "BTCUSDT",
    ]
    assert manager.search("vodafone", offline=True) == []
    assert vendors.count() == 0
    manager.search("apple")
    asked = vendors.count()
    assert manager.search("inc", offline=True) == [APPLE]  # another text than was asked for
    assert "BTCUSDT" in [one.symbol for one in manager.search("usdt", offline=True)]
    assert vendors.count() == asked


@pytest.mark.parametrize("vendor", KEYS)
def test_vendors_with_keys_answer_a_search_if_yahoo_fails(
    vendors: VendorServer, clock: ManualClock, rules: Path, tmp_path: Path, vendor: str,
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture,
) -> None:  # fmt: skip
    monkeypatch.setenv(KEYS[vendor], KEY)
    own = f"  {vendor}: {{base_url: '{vendors.base_url(vendor)}', transport: http}}\n"
    rules.write_text(rules.read_text() + own)
    manager = DataManager(tmp_path / "cache", rules, clock=clock)
    assert [one.vendor for one in manager.search("apple")] == ["yahoo"]
    assert vendors.count(vendor) == 0  # nothing of its limits is used where another one answers
    vendors.fault("yahoo", Fault.status(404))
    with pytest.warns(
        IncompleteDataWarning, match="'vod': some vendors did not answer: Yahoo Finance"
    ):
        found = manager.search("vod")
    assert "'vod': some vendors did not answer: Yahoo Finance" in caplog.text
    assert [(one.symbol, one.vendor) for one in found] == [("VOD.L", vendor)]


def test_a_search_that_all_vendors_refuse_is_an_error(
    manager: DataManager, vendors: VendorServer
) -> None:
    manager.search("apple")
    vendors.fault("yahoo", Fault.status(404))
    with pytest.raises(
        AllProvidersFailedError, match="search for 'vod': Yahoo Finance: "
    ) as caught:
        manager.search("vod")
    assert [attempt.provider for attempt in caught.value.attempts] == ["yahoo"]
    with pytest.warns(IncompleteDataWarning, match="Yahoo"):
        assert manager.search("inc") == [APPLE]  # what is held


def test_a_search_response_of_another_shape_is_a_failure(
    manager: DataManager, vendors: VendorServer
) -> None:
    vendors.fault("yahoo", Fault.lie('{"quotes": {"AAPL": 1}}'))
    with pytest.raises(AllProvidersFailedError, match="something other than names"):
        manager.search("vodafone")
    with pytest.warns(IncompleteDataWarning, match="something other than names"):
        assert [one.vendor for one in manager.search("apple")] == ["packaged"]


def test_names_that_cannot_be_written_are_kept_in_memory(
    manager: DataManager, vendors: VendorServer
) -> None:
    Path(manager.cache.cache_dir, "_names").write_text("in the way")
    assert manager.search("apple") == manager.search("apple") == [APPLE]
    assert vendors.count("yahoo") == 1


@pytest.mark.parametrize("damage", [b"", b"{}", b'{"format": 1}', b"\xff\x00"])
def test_a_damaged_file_of_names_is_fetched_again(
    make: Callable[[], DataManager], vendors: VendorServer, damage: bytes
) -> None:
    manager = make()
    manager.search("apple")
    Path(manager.cache.cache_dir, "_names", "yahoo.json").write_bytes(damage)
    assert make().search("apple") == [APPLE]
    assert vendors.count("yahoo") == 2


def test_concurrent_searches_for_one_text_send_one_request(
    manager: DataManager, vendors: VendorServer
) -> None:
    vendors.fault("yahoo", Fault.hold())
    barrier = threading.Barrier(8)

    def search() -> list[Listing]:
        barrier.wait(5)
        return manager.search("apple")

    with ThreadPoolExecutor(8) as pool:
        answers = [pool.submit(search) for _ in range(8)]
        assert vendors.wait_for("yahoo", 1)
        vendors.heal()
        assert [answer.result(10) for answer in answers] == [[APPLE]] * 8
    assert vendors.count("yahoo") == 1


@pytest.mark.parametrize("symbol", ["SOL", "LINKBTC"])
def test_a_share_is_not_listed_under_the_name_of_a_coin(
    manager: DataManager, vendors: VendorServer, symbol: str
) -> None:
    vendors.truth.add(Traded(symbol, "stock", 10.0, calendar="XNYS", timezone="America/New_York",
                             name="Emeren Group"))  # fmt: skip
    assert [(one.symbol, one.type) for one in manager.search("emeren")] == [
        (f"{symbol}.US", "stock")
    ]


def test_names_from_a_search_contain_no_control_characters(
    manager: DataManager, vendors: VendorServer
) -> None:
    vendors.truth.add(Traded("EVIL", "stock", 10.0, calendar="XNYS", timezone="America/New_York",
                             name="\x1b[2J<b>[red]Evil\u202e\x00 Corp"))  # fmt: skip
    assert [one.name for one in manager.search("evil")] == ["[2J<b>[red]Evil Corp"]


@pytest.mark.parametrize("text", ["", "  ", "...", "x" * 65, None, 5, "a\x00b"])
def test_an_empty_search_text_is_refused(manager: DataManager, text: Any) -> None:
    with pytest.raises(QueryError):
        manager.search(text)


@pytest.mark.parametrize("limit", [0, -1, 1.5, True, "5", 1_001])
def test_an_invalid_limit_of_a_search_is_refused(manager: DataManager, limit: Any) -> None:
    with pytest.raises(QueryError, match="limit"):
        manager.search("apple", limit)


# --- unknown symbols -------------------------------------------------------------------------


def test_the_error_for_an_unknown_symbol_suggests_the_nearest_without_a_request(
    manager: DataManager, vendors: VendorServer
) -> None:
    manager.search("apple")
    vendors.clear_log()
    with pytest.raises(UnknownSymbolError, match=r"did you mean AAPL \(Apple Inc\.\)\?") as caught:
        manager.get_ohlcv("APPLE", "1d", bars=2)
    assert caught.value.nearest == ("AAPL",)
    assert vendors.count() == 1


def test_cached_symbols_are_suggested_for_an_unknown_one(manager: DataManager) -> None:
    manager.get_ohlcv("MSFT", "1d", bars=2)
    with pytest.raises(UnknownSymbolError, match=r"did you mean MSFT\?"):
        manager.get_quote("MSFTT")
    with pytest.raises(UnknownSymbolError) as caught:
        manager.get_ohlcv("QQQQ", "1d", bars=2)
    assert caught.value.nearest == () and "did you mean" not in str(caught.value)


@pytest.mark.parametrize("fault", [Fault.status(503), Fault.lie(), Fault.status(429)])
def test_no_symbol_is_suggested_if_the_fault_was_not_the_symbol(
    manager: DataManager, vendors: VendorServer, fault: Fault
) -> None:
    """The symbols are misspelled ones, which an unknown symbol's error would correct."""
    manager.get_ohlcv("MSFT", "1d", bars=2)
    vendors.fault("yahoo", fault)
    with pytest.raises(AllProvidersFailedError) as caught:
        manager.get_ohlcv("MSFTT", "1d", bars=2)
    assert caught.value.candidates == ()
    assert "did you mean" not in str(caught.value)


@pytest.mark.parametrize("symbol", ["MSFTT", "^GSPC", "BRK.B", "BTC/USDT"])
def test_an_uncached_symbol_is_named_as_typed_with_the_command_that_fetches_it(
    symbol: str, manager: DataManager
) -> None:
    manager.get_ohlcv("MSFT", "1d", bars=2)
    with pytest.raises(AllProvidersFailedError) as caught:
        manager.get_ohlcv(symbol, "1d", offline=True)
    line = f"onetape fetch {shlex.quote(symbol)} 1d"
    assert str(caught.value) == f"{symbol} 1d is not cached; `{line}` fetches it"
    assert caught.value.candidates == ()


@pytest.mark.parametrize(
    "wishes, options",
    [
        ({"start": "2024-01-02", "end": date(2024, 1, 5)}, "--start 2024-01-02 --end 2024-01-05"),
        ({"start": "-30d", "provider": "yahoo"}, "--start=-30d --provider yahoo"),
        ({"end": datetime(2024, 1, 5, 14, 30)}, "--end 2024-01-05T14:30:00"),
        ({"period": "1y"}, "--period 1y"),
    ],
)
def test_the_command_for_an_uncached_range_has_the_range(
    wishes: dict[str, Any], options: str, manager: DataManager
) -> None:
    with pytest.raises(AllProvidersFailedError) as caught:
        manager.get_ohlcv("AAPL", "1h", offline=True, **wishes)
    line = f"onetape fetch AAPL 1h {options}"
    assert str(caught.value) == f"AAPL 1h is not cached in this range; `{line}` fetches it"
    assert whole_parser().parse_args(shlex.split(line)[1:]).run
