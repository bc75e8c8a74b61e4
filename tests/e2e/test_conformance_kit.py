"""Tests the kit for providers of other packages: our vendors pass, each broken rule is reported."""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest

from onetape import testing
from onetape.testing import examine
from src.data.core.clock import ManualClock
from src.data.core.model.market.bars import BarTable
from src.data.core.model.request.capabilities import BarPage, FetchQuery
from src.data.core.model.request.http import HttpRequest, HttpResponse
from src.data.core.vendors.base import BaseDataDownloader
from src.data.core.vendors.binance.bars import BinanceDataDownloader
from src.data.core.vendors.factory import downloader_class, downloader_for
from src.data.data_manager import DataManager
from src.data.errors import DataError, NoDataError, UnavailableError
from tests.conformance.sheet import sheet_of
from tests.core.cache.counts import FULL
from tests.vendor_server import VendorServer

COIN = ("BTCUSDT", "1h", "2024-05-01", "2024-05-01")
SHARE = ("AAPL", "1d", "2024-05-01", "2024-05-10")
Record = Callable[..., Path]


@pytest.fixture
def record(
    tmp_path: Path, vendors: VendorServer, clock: ManualClock, monkeypatch: pytest.MonkeyPatch
) -> Record:
    """Return what records a question to a vendor, and returns the folder.

    With a class, its methods read the vendor's answers.
    """

    def ask(
        vendor: str,
        question: tuple[str, str, str, str],
        provider: type[BaseDataDownloader] | None = None,
    ) -> Path:
        with monkeypatch.context() as patch:
            patch.setenv("ONETAPE_RECORD", str(tmp_path / "seen"))
            for name, value in sheet_of(vendor).keys.items():
                patch.setenv(name, value)
            rules = tmp_path / "rules.yaml"
            own = {"base_url": vendors.base_url(vendor), "transport": "http"}
            rules.write_text(json.dumps({"providers": {vendor: own}}))
            manager = DataManager(tmp_path / "cache", rules, clock=clock)
            if provider is not None:
                downloader = downloader_for(manager.provider_selector, vendor)
                patch.setattr(downloader, "__class__", provider)
            manager.get_ohlcv(*question, provider=vendor, adjustment="raw")
        return tmp_path / "seen" / vendor

    return ask


@pytest.mark.parametrize(
    ("vendor", "question"),
    [
        ("binance", COIN),
        ("tiingo", SHARE),
        ("alpaca", SHARE),
        ("fmp", SHARE),
    ],
)
def test_our_own_downloaders_pass_the_examination_of_the_kit(
    vendor: str, question: tuple[str, str, str, str], record: Record
) -> None:
    bars = examine(downloader_class(vendor), record(vendor, question), *question)
    assert len(bars) == (24 if question is COIN else 8)


class Swallows(BinanceDataDownloader):
    """Returns no data for a response that it cannot read."""

    def parse_bars(self, response: HttpResponse, query: FetchQuery) -> BarPage:
        try:
            return super().parse_bars(response, query)
        except Exception:  # noqa: BLE001 - what it must not do
            raise NoDataError("nothing there") from None


class Shows(BinanceDataDownloader):
    """Sends its key in the query."""

    secrets = ("ACME_KEY",)

    def bars_request(self, query: FetchQuery, cursor: str | None) -> HttpRequest:
        request = super().bars_request(query, cursor)
        return HttpRequest(request.url, request.params, {"X-Key": self.secret("ACME_KEY")})


class Shrugs(BinanceDataDownloader):
    """Every refusal is the same to it."""

    def classify(self, response: HttpResponse) -> DataError | None:
        return UnavailableError("no") if response.status != 200 else None


class Forgets(BinanceDataDownloader):
    """Its answers depend on earlier requests."""

    asked = 0

    def parse_bars(self, response: HttpResponse, query: FetchQuery) -> BarPage:
        page = super().parse_bars(response, query)
        type(self).asked += 1
        first, *others = page.bars
        return replace(page, bars=[first._replace(volume=type(self).asked), *others])


class Misdeclares(BinanceDataDownloader):
    """It declares another shape than its vendor's."""

    shapes = (("klines", [("text",) * 12]),)


class Careless(Shows, Shrugs, Misdeclares, Forgets):
    """It has all of these faults."""


SWALLOWED = ["half of an answer is mistaken for no bars", "the document 17 is mistaken for no bars"]
BROKEN = [
    (Shows, ["a key appears in the printed form of a request"]),
    (Shrugs, ["HTTP 429 is UnavailableError, not RateLimitedError"]),
    (Misdeclares, ["differ from its `shapes`: klines: [][0] is number, not text"]),
    (Forgets, ["different bars for the same request"]),
]
ALL_BROKEN: list[Any] = [(Careless, [text for _, said in BROKEN for text in said])]


@pytest.mark.parametrize(
    ("provider", "said"), [(Swallows, SWALLOWED), *(BROKEN if FULL else ALL_BROKEN)]
)
def test_the_kit_names_a_broken_promise_of_a_provider(
    provider: Any, said: list[str], record: Record
) -> None:
    with pytest.raises(AssertionError, match=provider.__name__) as caught:
        examine(provider, record("binance", COIN), *COIN)
    assert [part for part in said if part not in str(caught.value)] == []


class Pages(BinanceDataDownloader):
    """Pages of ten rows, each of which begins a millisecond after the last row of the one before."""

    def bars_request(self, query: FetchQuery, cursor: str | None) -> HttpRequest:
        request = super().bars_request(query, cursor)
        return replace(request, params={**request.params, "limit": 10})

    def parse_bars(self, response: HttpResponse, query: FetchQuery) -> BarPage:
        bars = super().parse_bars(response, query).bars
        assert not isinstance(bars, BarTable)
        return BarPage(bars, next_ms=bars[-1].stamp_ms + 1 if len(bars) == 10 else None)


class FloorsNext(Pages):
    """Rounds the start of the next page down to a second, which is the last row again."""

    def parse_bars(self, response: HttpResponse, query: FetchQuery) -> BarPage:
        page = super().parse_bars(response, query)
        return page if page.next_ms is None else replace(page, next_ms=page.next_ms // 1000 * 1000)


class FloorsEnd(Pages):
    """Rounds an exclusive end down to a second, so a bar that begins in that second is lost."""

    # The range is as long as a window, and one millisecond more is another window.
    capabilities = replace(BinanceDataDownloader.capabilities, page_days={"1h": 1})

    def bars_request(self, query: FetchQuery, cursor: str | None) -> HttpRequest:
        request = super().bars_request(query, cursor)
        end = query.span.end // 1000 * 1000 - 1
        return replace(request, params={**request.params, "endTime": end})


class EndsLate(Pages):
    """Requests more than the range, up to a full second that is inclusive, which loses nothing."""

    def bars_request(self, query: FetchQuery, cursor: str | None) -> HttpRequest:
        request = super().bars_request(query, cursor)
        end = query.span.end // 1000 * 1000
        return replace(request, params={**request.params, "endTime": end})


DOUBLED = """\
- pages overlap: the bar of 2024-05-01T09:00:00Z and 1 more is on two pages; `next_ms` is the start of \
the next page, after the last row of this one"""
LOST = """\
- a range that ends 1 ms after 2024-05-02T00:00:00Z lacks the bar of that time; the end of a span is \
exclusive and in milliseconds, so round it up if the vendor's unit is longer"""


@pytest.mark.parametrize(("provider", "said"), [(FloorsNext, DOUBLED), (FloorsEnd, LOST)])
def test_the_kit_names_a_fault_of_paging(
    provider: type[BaseDataDownloader], said: str, record: Record
) -> None:
    folder = record("binance", COIN, provider)
    with pytest.raises(AssertionError) as caught:
        examine(provider, folder, *COIN)
    assert str(caught.value) == f"{provider.__name__} breaks 1 promises:\n{said}"


@pytest.mark.parametrize("provider", [Pages, EndsLate])
def test_pages_that_join_and_ends_that_lose_nothing_pass(
    provider: type[BaseDataDownloader], record: Record
) -> None:
    folder = record("binance", COIN, provider)
    assert len(list(folder.iterdir())) == 3
    assert len(examine(provider, folder, *COIN)) == 24


def test_promises_are_checked_even_if_python_leaves_out_asserts() -> None:
    """Python leaves out every ``assert`` under -O."""
    source, kit = Path(testing.__file__).read_text("utf-8"), ModuleType("onetape.testing")
    kit.__dict__.update(__package__="onetape", __file__=testing.__file__)
    exec(compile(source, testing.__file__, "exec", dont_inherit=True, optimize=1), kit.__dict__)
    kit._Bench.ask = lambda *_: None
    kit._broken_promises = lambda *_: iter(["- one"])
    with pytest.raises(AssertionError, match="int breaks 1 promises:\n- one"):
        kit.examine(int, "x", "BTCUSDT", "1h", None, None)


def test_a_request_that_was_not_recorded_is_an_error(record: Record) -> None:
    with pytest.raises(DataError, match="has no answer for GET"):
        examine(BinanceDataDownloader, record("binance", COIN), "ETHUSDT", *COIN[1:])
