from __future__ import annotations

import json
import math
from datetime import date
from typing import Any

import pytest

from src.data.core.model.identity.instrument import Instrument
from src.data.core.model.identity.kind import Basis
from src.data.core.model.request.capabilities import FetchQuery
from src.data.core.model.request.http import HttpResponse
from src.data.core.model.time.instant import DAY_MS, MINUTE_MS, day_ms, iso, parse_iso
from src.data.core.model.time.span import Span
from src.data.core.prices.quality import check
from src.data.core.vendors.alpaca.bars import AlpacaDataDownloader
from src.data.errors import (
    AuthenticationError,
    CapabilityError,
    DataError,
    EntitlementError,
    MissingCredentialsError,
    NoDataError,
    QueryError,
    RateLimitedError,
    ResponseFormatError,
    SymbolNotFoundError,
    UnavailableError,
)
from tests.core.net.scripted import NOW_MS, ScriptedTransport, answer, sender_over
from tests.core.vendors.acme import query, recorded
from tests.reference import needs_reference

KEYS = {"ALPACA_API_KEY": "c4nary-id", "ALPACA_SECRET_KEY": "c4nary-secret"}
AAPL = Instrument("AAPL", "stock", "XNYS", "America/New_York", quote="USD")
BTC = Instrument("BTC-USD", "crypto", base="BTC", quote="USD")
ROW = {"t": "2024-01-02T14:30:00Z", "o": 1.5, "h": 2, "l": 1, "c": 1.25, "v": 10, "n": 3, "vw": 1}
STOCKS = "https://data.alpaca.markets/v2/stocks/bars"

BARS: dict[str, tuple[str, Instrument, int, str, str]] = {
    # recording: timeframe, instrument, rows, first and last stamp
    "crypto-bars-BCHUSD-1Min": (
        "1m", Instrument("BCHUSD", "crypto", base="BCH", quote="USD"), 11,
        "2021-11-11T11:11:00", "2021-11-11T11:21:00",
    ),
    "crypto-bars-two-symbols": ("1h", BTC, 1, "2022-03-09T05:00:00", "2022-03-09T05:00:00"),
    "stocks-bars-AAPL-1Day-limit2-next_page_token": ("1d", AAPL, 2, "2022-02-01", "2022-02-02"),
    "stocks-bars-AAPL-TSLA-1Day-last-page": ("1d", AAPL, 1, "2022-03-09", "2022-03-09"),
    "stocks-bars-AMZN-15Min": (
        "15m", Instrument("AMZN", "stock"), 5, "2021-10-15T16:00:00", "2021-10-15T17:00:00",
    ),
    "stocks-bars-META-asof-page1": ("1d", Instrument("META", "stock"), 2, "2022-06-08", "2022-06-09"),
    "stocks-bars-META-asof-page2": ("1d", Instrument("META", "stock"), 2, "2022-06-10", "2022-06-13"),
}  # fmt: skip
# A plan's lack of the newest minutes concerns the range: the vendor stays in use for all others.
ERRORS: dict[str, Any] = {"error-403-recent-sip": CapabilityError}
# One bar in place of a list of them: the latest, not a range.
UNREADABLE = {"crypto-bars-latest-BTCUSD", "stocks-bars-latest-AAPL-JPY"}


def alpaca(*answers: Any) -> tuple[AlpacaDataDownloader, ScriptedTransport]:
    transport = ScriptedTransport(*answers)
    return AlpacaDataDownloader(credentials=KEYS, sender=sender_over(transport)), transport


def bars(*rows: Any, symbol: str = "AAPL", token: str | None = None) -> HttpResponse:
    return answer({"bars": {symbol: list(rows)} if rows else {}, "next_page_token": token})


@pytest.mark.parametrize(
    "label, theirs",
    [("1m", "1Min"), ("5m", "5Min"), ("15m", "15Min"), ("30m", "30Min"), ("1h", "1Hour")],
)
def test_a_request_for_minutes_covers_exactly_the_span(label: str, theirs: str) -> None:
    vendor, _ = alpaca()
    asked = query(label, "2024-01-02T14:30:00", "2024-01-02T21:00:00", AAPL)
    request = vendor.bars_request(asked, None)
    assert request.url == STOCKS
    assert request.params == {
        "symbols": "AAPL", "timeframe": theirs, "start": "2024-01-02T14:30:00Z",
        "end": "2024-01-02T20:59:59.999Z", "limit": 10000, "sort": "asc",
        "adjustment": "raw", "feed": "sip",
    }  # fmt: skip
    assert request.secret_headers == {
        "APCA-API-KEY-ID": "c4nary-id", "APCA-API-SECRET-KEY": "c4nary-secret",
    }  # fmt: skip
    assert vendor.bars_request(asked, "t0ken").params == {**request.params, "page_token": "t0ken"}


@pytest.mark.parametrize(
    "first, last, start, end",
    [
        ("2024-01-02", "2024-01-04", "2024-01-02T05:00:00Z", "2024-01-04T04:59:59.999Z"),
        ("2024-03-08", "2024-03-12", "2024-03-08T05:00:00Z", "2024-03-12T03:59:59.999Z"),
        ("2024-11-01", "2024-11-05", "2024-11-01T04:00:00Z", "2024-11-05T04:59:59.999Z"),
        ("2024-07-03", "2024-07-03T15:00", "2024-07-03T04:00:00Z", "2024-07-04T03:59:59.999Z"),
    ],
)
def test_a_request_for_days_is_from_midnight_to_midnight_in_new_york(
    first: str, last: str, start: str, end: str
) -> None:
    params = alpaca()[0].bars_request(query("1d", first, last, AAPL), None).params
    assert (params["timeframe"], params["start"], params["end"]) == ("1Day", start, end)


def test_pairs_are_requested_at_their_own_address() -> None:
    vendor, transport = alpaca(bars(ROW, symbol="BTC/USD"))
    got = vendor.fetch(query("1h", "2024-01-02T14:00", "2024-01-02T16:00", BTC))
    assert transport.asked[0].url == "https://data.alpaca.markets/v1beta3/crypto/us/bars"
    assert transport.asked[0].params == {
        "symbols": "BTC/USD", "timeframe": "1Hour", "start": "2024-01-02T14:00:00Z",
        "end": "2024-01-02T15:59:59.999Z", "limit": 10000, "sort": "asc",
    }  # fmt: skip
    assert (got.kind.venue, got.kind.session, got.kind.unit, got.dense) == (
        "alpaca", "24h", "USD", False,
    )  # fmt: skip


def test_days_of_pairs_that_begin_at_another_hour_are_refused_without_a_request() -> None:
    vendor, transport = alpaca()
    with pytest.raises(CapabilityError, match="midnight in New York"):
        vendor.fetch(query("1d", "2024-01-02", "2024-01-03", BTC))
    assert transport.asked == []


def test_the_newest_minutes_of_stocks_are_left_out() -> None:
    vendor, _ = alpaca()
    asked = query("1m", NOW_MS - DAY_MS, NOW_MS + DAY_MS, AAPL)
    assert vendor.bars_request(asked, None).params["end"] == iso(NOW_MS - 16 * MINUTE_MS - 1)
    with pytest.raises(CapabilityError, match="16 minutes"):
        vendor.bars_request(query("1m", NOW_MS - 15 * MINUTE_MS, NOW_MS, AAPL), None)
    assert vendor.capabilities.settle_ms > 16 * MINUTE_MS, "what has not come is not settled"
    pair = query("1m", NOW_MS - DAY_MS, NOW_MS + DAY_MS, BTC)
    assert vendor.bars_request(pair, None).params["end"] == iso(NOW_MS + DAY_MS - 1)


@pytest.mark.parametrize(
    "who, spelled",
    [
        (Instrument("BRK-B", "stock", "XNYS", "America/New_York"), "BRK.B"),
        (Instrument("BRK.B", "stock"), "BRK.B"),
        (Instrument("BAC-PK", "stock", "XNYS", "America/New_York"), "BAC.PRK"),
        (Instrument("SOL.US", "stock", "XNYS", "America/New_York", spellings={"alpaca": "SOL"}), "SOL"),
        (Instrument("ETHBTC", "crypto", base="ETH", quote="BTC"), "ETH/BTC"),
        (Instrument("X", "crypto", base="A", quote="B", spellings={"alpaca": "A1/B"}), "A1/B"),
    ],
)  # fmt: skip
def test_symbols_are_sent_in_alpacas_spelling(who: Instrument, spelled: str) -> None:
    asked = query("1h", "2024-01-02T14:00", "2024-01-02T16:00", who)
    assert alpaca()[0].bars_request(asked, None).params["symbols"] == spelled


def test_a_share_listed_elsewhere_is_not_requested_under_the_same_ticker() -> None:
    vendor, transport = alpaca()
    with pytest.raises(CapabilityError, match="serves US stocks"):
        vendor.fetch(query("1d", "2024-01-02", "2024-01-03",
                           Instrument("VOD.L", "stock", "XLON", "Europe/London")))  # fmt: skip
    assert transport.asked == []


@pytest.mark.parametrize(
    "label, day",
    [
        ("2024-03-08T05:00:00Z", "2024-03-08"), ("2024-03-11T04:00:00Z", "2024-03-11"),
        ("2024-11-01T04:00:00Z", "2024-11-01"), ("2024-11-04T05:00:00Z", "2024-11-04"),
    ],
)  # fmt: skip
def test_days_are_stamped_with_their_date_across_daylight_saving_changes(
    label: str, day: str
) -> None:
    page = alpaca()[0].parse_bars(bars({**ROW, "t": label}), query("1d", day, day + "T01", AAPL))
    assert [b.stamp_ms for b in page.bars] == [parse_iso(day)]


def test_a_missing_value_is_nan() -> None:
    asked = query("1m", "2024-01-02", "2024-01-03", AAPL)
    (bar,) = alpaca()[0].parse_bars(bars({**ROW, "c": None}), asked).bars
    assert math.isnan(bar.close)
    assert bar[1:4] == (1.5, 2.0, 1.0)


def test_bars_have_the_currency_that_the_answer_names() -> None:
    asked = query("1m", "2024-01-02", "2024-01-03", AAPL)
    for named, unit in ({"currency": "JPY"}, "JPY"), ({"currency": None}, "USD"), ({}, "USD"):
        vendor, _ = alpaca(answer({"bars": {"AAPL": [ROW]}, "next_page_token": None, **named}))
        assert vendor.fetch(asked).kind.unit == unit


def test_days_and_minutes_have_their_declared_kinds() -> None:
    caps = alpaca()[0].capabilities
    day, minute = (caps.kind(AAPL, query(t, 0, 1).timeframe) for t in ("1d", "1m"))
    assert (day.session, day.anchor, day.venue, day.feed) == (
        "regular", "session", "consolidated", "sip",
    )  # fmt: skip
    assert (minute.session, minute.anchor, minute.volume) == ("extended", "clock", "shares")
    assert (caps.adjustment, caps.actions, caps.tells_actions) == ("raw", False, True)
    vendor, _ = alpaca()
    assert [vendor.is_dense(query(t, 0, 1).timeframe) for t in ("1d", "1m")] == [True, False]


# --- direct use --------------------------------------------------------------------------------


def test_a_direct_call_returns_raw_prices_by_default() -> None:
    rows = [{**ROW, "t": f"2024-01-0{n}T05:00:00Z"} for n in (2, 3, 4)]
    vendor, transport = alpaca(*[bars(*rows)] * 2)
    frame = vendor.get_ohlcv("AAPL", "1d", "2024-01-02", "2024-01-04")
    assert frame is not None
    assert (frame.index.name, len(frame)) == ("timestamp", 3)
    more = {"adjustment": "all", "limit": 2, "enable_chunking": True}
    frame = vendor.get_ohlcv("AAPL", "1d", "2024-01-02", "2024-01-04", **more)
    assert frame is not None
    assert list(map(str, frame.index.date)) == ["2024-01-02", "2024-01-03"]
    assert [request.params["adjustment"] for request in transport.asked] == ["raw", "all"]


@pytest.mark.parametrize("said", [{"adjustment": "dividend"}, {"limit": 0}, {"limit": "many"}])
def test_invalid_options_of_a_direct_call_are_refused(said: dict[str, Any]) -> None:
    with pytest.raises(QueryError):
        alpaca()[0].get_ohlcv("AAPL", "1d", "2024-01-02", "2024-01-04", **said)
    with pytest.raises(TypeError, match="has no option nonsense"):
        alpaca()[0].get_ohlcv("AAPL", "1d", "2024-01-02", "2024-01-04", nonsense=1)


def test_bars_requested_split_adjusted_have_the_split_basis() -> None:
    vendor, _ = alpaca(bars(ROW))
    asked = query("1m", "2024-01-02", "2024-01-03", AAPL)
    adjusted = FetchQuery(AAPL, asked.timeframe, asked.span, NOW_MS, adjustment="split")
    assert vendor.fetch(adjusted).basis == Basis("split")


def test_the_constructor_accepts_keys_and_hosts() -> None:
    sender = sender_over(ScriptedTransport())
    made = AlpacaDataDownloader("one", "two", "https://mirror.example/", sender=sender)
    asked = made.bars_request(query("1m", "2024-01-02", "2024-01-03", AAPL), None)
    assert asked.url == "https://mirror.example/v2/stocks/bars"
    assert set(asked.secret_headers.values()) == {"one", "two"}
    trading = AlpacaDataDownloader("a", "b", "https://paper-api.alpaca.markets", sender=sender)
    assert trading.base_url == "https://data.alpaca.markets"


def test_control_characters_of_a_response_are_escaped_in_the_error() -> None:
    made, _ = alpaca(answer({"bars": {"\x1b[2J": []}}))
    with pytest.raises(ResponseFormatError) as caught:
        made.fetch(query("1d", "2024-01-02", "2024-01-03", AAPL))
    assert r"the bars are for \x1b[2J" in str(caught.value) and "\x1b" not in str(caught.value)


def test_both_keys_are_needed_in_either_spelling(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in (*KEYS, "APCA_API_KEY_ID", "APCA_API_SECRET_KEY"):
        monkeypatch.delenv(name, raising=False)
    for keys in ({}, {"api_key": "one"}):
        with pytest.raises(MissingCredentialsError, match="Alpaca needs a key") as caught:
            AlpacaDataDownloader(**keys)
        assert isinstance(caught.value, ValueError)
    monkeypatch.setenv("APCA_API_KEY_ID", "one")
    monkeypatch.setenv("APCA_API_SECRET_KEY", "two")
    assert AlpacaDataDownloader(sender=sender_over(ScriptedTransport())).lacking == ()


# --- splits and dividends ----------------------------------------------------------------------

TOLD = {
    "forward_splits": [{"symbol": "AAPL", "ex_date": "2020-08-31", "new_rate": 4, "old_rate": 1}],
    "reverse_splits": [{"symbol": "AAPL", "ex_date": "2021-06-01", "new_rate": 1, "old_rate": 8}],
    "stock_dividends": [{"symbol": "AAPL", "ex_date": "2021-07-01", "rate": 0.05}],
    "cash_dividends": [{"symbol": "AAPL", "ex_date": "2020-11-06", "rate": 0.205,
                        "payable_date": "2020-11-12"},
                       {"symbol": "AAPL", "ex_date": "2030-11-06", "rate": 9}],
}  # fmt: skip


def test_actions_of_several_pages_are_joined() -> None:
    one = {"corporate_actions": {"cash_dividends": TOLD["cash_dividends"]}, "next_page_token": "p2"}
    two = {"corporate_actions": {**TOLD, "cash_dividends": []}, "next_page_token": None}
    vendor, transport = alpaca(answer(one), answer(two))
    span = Span(day_ms(date(2020, 1, 1)), day_ms(date(2022, 1, 1)))
    found = vendor.fetch_actions(AAPL, span, NOW_MS)
    assert [(a.ex_date.isoformat(), a.type, a.ratio, a.amount) for a in found] == [
        ("2020-08-31", "split", 4, 0.0), ("2020-11-06", "dividend", 1, 0.205),
        ("2021-06-01", "split", 1 / 8, 0.0), ("2021-07-01", "split", pytest.approx(1.05), 0.0),
    ]  # fmt: skip
    assert {(a.source, a.fetched_at) for a in found} == {("alpaca", NOW_MS)}
    assert found[1].as_paid
    assert (found[1].pay_date, found[1].currency) == ("2020-11-12", "")
    assert found[0].ex_at == parse_iso("2020-08-31T04:00:00"), "before the first early trade"
    assert [r.url for r in transport.asked] == [
        "https://data.alpaca.markets/v1/corporate-actions"
    ] * 2
    assert transport.asked[0].params == {
        "symbols": "AAPL", "types": "cash_dividend,forward_split,reverse_split,stock_dividend,"
        "unit_split,spin_off,rights_distribution",
        "limit": 1000, "start": "2020-01-01", "end": "2022-06-30",
    }  # fmt: skip
    assert transport.asked[1].params["page_token"] == "p2"


NOT_APPLIED = {
    "unit_splits": [{"old_symbol": "AAPL", "old_rate": 1, "new_symbol": "AAPX", "new_rate": 1,
                     "alternate_symbol": "AAPL.WS", "alternate_rate": 0.5,
                     "effective_date": "2021-03-01", "process_date": "2021-03-01"}],
    "spin_offs": [{"source_symbol": "AAPL", "source_rate": 1, "new_symbol": "PEAR",
                   "new_rate": 0.25, "ex_date": "2021-04-01", "process_date": "2021-04-01"},
                  {"source_symbol": "AAPL", "source_rate": 1, "new_symbol": "LATER",
                   "new_rate": 1, "ex_date": "2031-04-01", "process_date": "2031-04-01"}],
    "rights_distributions": [{"source_symbol": "AAPL", "new_symbol": "AAPL.RT", "rate": 1,
                              "ex_date": "2021-05-03", "process_date": "2021-05-03"}],
}  # fmt: skip


def test_actions_that_change_no_price_are_listed_as_unapplied() -> None:
    vendor, _ = alpaca(
        answer({"corporate_actions": {**TOLD, **NOT_APPLIED}, "next_page_token": None})
    )
    span = Span(day_ms(date(2020, 1, 1)), day_ms(date(2022, 1, 1)))
    found: Any = vendor.fetch_actions(AAPL, span, NOW_MS)
    assert len(found) == 4, "they change no prices"
    assert found.unapplied == (
        "a unit split into AAPX and AAPL.WS on 2021-03-01",
        "a spin-off of 0.25 PEAR a share on 2021-04-01",
        "a rights distribution of 1 AAPL.RT a share on 2021-05-03",
    )


@pytest.mark.parametrize("types", NOT_APPLIED)
def test_actions_of_another_share_that_are_not_applied_are_unreadable(types: str) -> None:
    text = json.dumps({types: NOT_APPLIED[types]}).replace('"AAPL"', '"MSFT"')
    vendor, _ = alpaca(answer({"corporate_actions": json.loads(text), "next_page_token": None}))
    with pytest.raises(ResponseFormatError, match="MSFT"):
        vendor.fetch_actions(AAPL, Span(0, NOW_MS), NOW_MS)


@pytest.mark.parametrize("body", [{}, [], {"corporate_actions": None, "next_page_token": None},
    {"corporate_actions": {"cash_dividends": [{"rate": 1}]}, "next_page_token": None}])  # fmt: skip
def test_actions_in_another_format_are_unreadable(body: Any) -> None:
    with pytest.raises(ResponseFormatError, match="splits and dividends"):
        alpaca(answer(body))[0].fetch_actions(AAPL, Span(0, DAY_MS), NOW_MS)


def test_endless_pages_of_actions_are_an_error() -> None:
    for_ever = answer({"corporate_actions": {}, "next_page_token": "again"})
    with pytest.raises(ResponseFormatError, match="sends the same splits and dividends again"):
        alpaca(*[for_ever] * 100)[0].fetch_actions(AAPL, Span(0, DAY_MS), NOW_MS)


# --- errors ------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "status, message, kind",
    [
        (401, "unauthorized.", AuthenticationError),
        (403, "forbidden.", AuthenticationError),
        (403, "subscription does not permit querying OTC data", EntitlementError),
        (403, "subscription does not permit querying recent SIP data", CapabilityError),
        (400, "invalid symbol: NOPE", SymbolNotFoundError),
        (422, "invalid symbol: NOPE", SymbolNotFoundError),
        (400, "invalid timeframe", CapabilityError),
        (429, "too many requests.", RateLimitedError),
        (500, "internal", UnavailableError),
        (504, "", UnavailableError),
    ],
)
def test_error_responses_become_typed_errors(status: int, message: str, kind: Any) -> None:
    error = alpaca()[0].classify(answer({"message": message}, status))
    assert type(error) is kind
    assert "c4nary" not in repr(error)
    assert alpaca()[0].classify(answer(b"<html>", status)) is not None


@pytest.mark.parametrize(
    "body", [b"<html>down</html>", b'{"bars": {"AAPL": [{"t"', b"", {}, [], {"bars": None},
        {"bars": {"AAPL": [{"t": "yesterday"}]}}, {"bars": {"TSLA": [ROW]}},
        {"bars": {"AAPL": [{"t": "2024-01-02T14:30:00Z"}]}}],
)  # fmt: skip
def test_a_response_in_another_format_is_unreadable(body: Any) -> None:
    with pytest.raises(ResponseFormatError):
        alpaca(answer(body))[0].fetch(query("1m", "2024-01-02", "2024-01-03", AAPL))


def test_no_text_form_shows_a_secret() -> None:
    vendor, _ = alpaca(answer(b"<html>"))
    asked = query("1m", "2024-01-02", "2024-01-03", AAPL)
    request = vendor.bars_request(asked, None)
    with pytest.raises(DataError) as caught:
        vendor.fetch(asked)
    reported = f"{vendor!r}{vars(vendor)!r}{request!r}{request.params}{request.url}{caught.value!r}"
    assert "c4nary" not in reported


# --- recorded answers --------------------------------------------------------------------------


@needs_reference
@pytest.mark.parametrize("name", BARS)
def test_recorded_bars_are_parsed_completely_and_in_order(name: str) -> None:
    recording, response = recorded("alpaca", name)
    timeframe, who, count, first, last = BARS[name]
    asked = query(timeframe, "2016-01-01", "2024-01-01", who)
    page = alpaca()[0].parse_bars(response, asked)
    stamps = [b.stamp_ms for b in page.bars]
    assert (len(stamps), stamps[0], stamps[-1]) == (count, parse_iso(first), parse_iso(last))
    assert page.cursor == recording["body"]["next_page_token"]
    rows = next(r for r in recording["body"]["bars"].values() if len(r) == count)
    assert [b[1:6] for b in page.bars] == [tuple(r[k] for k in "ohlcv") for r in rows]
    got = alpaca(response if page.cursor is None else bars(*rows, symbol=_first(recording)))[0]
    checked = check(got.fetch(asked).table, asked.span, timeframe=asked.timeframe, now_ms=NOW_MS)
    assert (len(checked.good), checked.bad) == (count, ())


def _first(recording: dict[str, Any]) -> str:
    return str(next(iter(recording["body"]["bars"])))


@needs_reference
def test_recorded_pages_join_in_order() -> None:
    _, one = recorded("alpaca", "stocks-bars-META-asof-page1")
    recording, two = recorded("alpaca", "stocks-bars-META-asof-page2")
    meta = Instrument("META", "stock")
    vendor, transport = alpaca(one, two, bars())
    got = vendor.fetch(query("1d", "2022-06-08", "2022-06-15", meta))
    assert [iso(at)[:10] for at in got.table.stamps.tolist()] == [
        "2022-06-08", "2022-06-09", "2022-06-10", "2022-06-13",
    ]  # fmt: skip
    assert transport.asked[1].params["page_token"] == recording["request"]["params"]["page_token"]


@needs_reference
def test_a_recorded_empty_answer_raises_no_data() -> None:
    _, response = recorded("alpaca", "stocks-bars-empty")
    with pytest.raises(NoDataError):
        alpaca(response)[0].fetch(query("1d", "2022-02-01", "2022-02-03", AAPL))


@needs_reference
@pytest.mark.parametrize("name", sorted(UNREADABLE))
def test_recorded_latest_bars_are_refused_as_a_range(name: str) -> None:
    _, response = recorded("alpaca", name)
    who = BTC if "BTC" in name else AAPL
    with pytest.raises(ResponseFormatError):
        alpaca(response)[0].fetch(query("1m", "2022-02-01", "2022-02-03", who))


@needs_reference
@pytest.mark.parametrize("name", ERRORS)
def test_a_recorded_error_becomes_its_typed_error(name: str) -> None:
    _, response = recorded("alpaca", name)
    assert type(alpaca()[0].classify(response)) is ERRORS[name]
