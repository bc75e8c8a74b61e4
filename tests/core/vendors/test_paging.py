from __future__ import annotations

from email.utils import formatdate
from typing import Any

import pytest

from src.data.core.clock import ManualClock
from src.data.core.model.identity.instrument import Instrument
from src.data.core.model.identity.kind import Basis, Kind
from src.data.core.model.request.http import HttpRequest, HttpResponse
from src.data.core.model.time.instant import DAY_MS, MINUTE_MS
from src.data.core.model.time.span import Span
from src.data.core.vendors import paging
from src.data.errors import (
    CapabilityError,
    NoDataError,
    ResponseFormatError,
    UnavailableError,
)
from tests.core.net.scripted import NOW_MS, ScriptedTransport, answer, sender_over
from tests.core.vendors.acme import AcmeDataDownloader, acme, query


def rows(*stamps: int) -> list[list[float]]:
    return [[stamp, 1, 2, 0.5, 1.5, 10] for stamp in stamps]


def day(number: int) -> int:
    return 20_000 * DAY_MS + number * DAY_MS


def test_one_page_becomes_one_table() -> None:
    vendor, transport = acme(answer({"rows": rows(day(0), day(1)), "unit": "USDC"}))
    got = vendor.fetch(query("1d", day(0), day(2)))
    assert got.table.stamps.tolist() == [day(0), day(1)]
    assert (got.vendor, got.requests, got.settle_ms, got.dense) == ("acme", 1, 5, False)
    assert got.kind == Kind("24h", "session", "acme", "USDC", "base")
    assert got.basis == Basis("split", None)
    assert transport.asked[0].params == {"from": day(0), "to": day(2) - 1}


def test_the_instrument_sets_the_unit_if_the_answer_has_none() -> None:
    vendor, _ = acme(answer({"rows": rows(day(0))}))
    assert vendor.fetch(query("1d", day(0), day(2))).kind.unit == "USDT"


def test_rows_stay_as_received_in_the_order_of_the_pages() -> None:
    nan = float("nan")
    vendor, _ = acme(
        answer({"rows": rows(day(3), day(2)), "cursor": "b"}),
        answer({"rows": [[day(2), nan, nan, nan, nan, nan], *rows(day(9))]}),
    )
    got = vendor.fetch(query("1d", day(0), day(4)))
    assert got.table.stamps.tolist() == [day(3), day(2), day(2), day(9)]
    assert got.requests == 2


def test_an_empty_page_between_two_pages_is_reported_as_a_seam() -> None:
    vendor, _ = acme(
        answer({"rows": rows(day(5), day(4)), "cursor": "b"}),
        answer({"rows": [], "cursor": "c"}),
        answer({"rows": rows(day(1), day(0))}),
    )
    got = vendor.fetch(query("1d", day(0), day(6)))
    assert got.seams == (Span(day(1) + 1, day(4)),)


def test_cursors_are_followed_within_the_same_span() -> None:
    vendor, transport = acme(
        *(answer({"rows": rows(day(i)), "cursor": c}) for i, c in enumerate(("b", "c", None)))
    )
    vendor.fetch(query("1d", day(0), day(3)))
    assert [r.params.get("page") for r in transport.asked] == [None, "b", "c"]
    assert {r.params["from"] for r in transport.asked} == {day(0)}


def test_pages_by_time_continue_where_the_last_one_ended() -> None:
    vendor, transport = acme(
        answer({"rows": rows(day(0)), "next": day(0) + 1}),
        answer({"rows": rows(day(1)), "next": day(2)}),
    )
    vendor.fetch(query("1d", day(0), day(2)))
    assert [r.params["from"] for r in transport.asked] == [day(0), day(0) + 1]


@pytest.mark.parametrize(
    "pages",
    [
        [{"next": day(0)}],
        [{"next": day(0) - 1}],
        [{"next": day(1)}, {"next": day(1)}],
        [{"next": day(1)}, {"next": day(0)}],
        [{"cursor": "b"}, {"cursor": "b"}],
        [{"cursor": "b"}, {"cursor": "c"}, {"cursor": "b"}],
    ],
)
def test_pages_that_do_not_advance_are_an_error(pages: list[dict[str, Any]]) -> None:
    script = [answer({"rows": rows(day(0)), **page}) for page in pages]
    vendor, transport = acme(*script)
    with pytest.raises(ResponseFormatError, match="do not advance"):
        vendor.fetch(query("1d", day(0), day(3)))
    assert transport.answers == []


def test_endless_pages_are_stopped_with_an_error(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(paging, "PAGE_CAP", 3)
    vendor, _ = acme(*(answer({"rows": rows(day(0)), "cursor": f"{i}"}) for i in range(9)))
    with pytest.raises(ResponseFormatError, match="more than 3 pages"):
        vendor.fetch(query("1d", day(0), day(3)))


@pytest.mark.parametrize("brought", [[], [day(0)], [day(-9)], [day(3)]])
def test_pages_without_a_new_bar_of_the_range_end(brought: list[int]) -> None:
    """Each page names another one: 3,001 of them were followed."""
    vendor, transport = acme(
        answer({"rows": rows(day(0)), "cursor": "first"}),
        *(answer({"rows": rows(*brought), "cursor": f"{i}"}) for i in range(50)),
    )
    with pytest.raises(ResponseFormatError, match="without a new bar"):
        vendor.fetch(query("1d", day(0), day(3)))
    assert len(transport.asked) <= 2 + paging.IDLE_PAGES


def test_a_few_empty_pages_are_accepted() -> None:
    vendor, _ = acme(
        answer({"rows": rows(day(0)), "cursor": "a"}),
        answer({"rows": [], "cursor": "b"}),
        answer({"rows": [], "cursor": "c"}),
        answer({"rows": rows(day(1))}),
    )
    assert len(vendor.fetch(query("1d", day(0), day(3))).table) == 2


@pytest.mark.parametrize("turns", ["cursor", "next"])
def test_far_more_rows_than_possible_bars_end_the_paging_with_an_error(
    turns: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Each page has news, a few milliseconds later than the last."""
    monkeypatch.setattr(paging, "ROWS_BEYOND", 20)

    def page(number: int) -> HttpResponse:
        first = day(0) + 5 * number
        following = {"cursor": str(number)} if turns == "cursor" else {"next": first + 5}
        return answer({"rows": rows(*range(first, first + 5)), **following})

    vendor, transport = acme(*map(page, range(50)))
    with pytest.raises(ResponseFormatError, match="more rows"):
        vendor.fetch(query("1d", day(0), day(3)))
    assert len(transport.asked) == 6


def test_a_long_span_is_split_into_windows_that_the_vendor_serves() -> None:
    start = NOW_MS - 20 * DAY_MS
    vendor, transport = acme(*(answer({"rows": rows(start)}) for _ in range(3)))
    vendor.fetch(query("1m", start, NOW_MS))
    asked = [(r.params["from"], r.params["to"]) for r in transport.asked]
    week = 7 * DAY_MS
    assert asked == [
        (start, start + week - 1),
        (start + week, start + 2 * week - 1),
        (start + 2 * week, NOW_MS - 1),
    ]


@pytest.mark.parametrize("empty", [0, 1, 2])
def test_an_error_that_one_window_has_no_data_loses_no_bar_of_the_others(empty: int) -> None:
    start, week = NOW_MS - 20 * DAY_MS, 7 * DAY_MS
    first = [start, start + week, start + 2 * week]
    sent: list[Any] = [answer({"rows": rows(stamp)}) for stamp in first]
    sent[empty] = NoDataError("no data in this period")
    got = acme(*sent)[0].fetch(query("1m", start, NOW_MS))
    assert got.table.stamps.tolist() == [stamp for stamp in first if stamp != first[empty]]
    assert (got.requests, got.actions) == (3, None)
    nothing = [NoDataError("no data in this period") for _ in range(3)]
    with pytest.raises(NoDataError, match="no data in this period"):
        acme(*nothing)[0].fetch(query("1m", start, NOW_MS))


def test_an_answer_without_any_bar_raises_no_data() -> None:
    vendor, _ = acme(answer({"rows": []}))
    with pytest.raises(NoDataError, match="acme has no 1d bars") as caught:
        vendor.fetch(query("1d", day(0), day(3)))
    assert (caught.value.provider, caught.value.symbol) == ("acme", "BTCUSDT")


def test_the_earlier_of_our_clock_and_the_vendors_is_used() -> None:
    late, early = "Wed, 01 Jan 2025 00:00:07 GMT", "Tue, 31 Dec 2024 23:59:53 GMT"
    for date, expected in ((late, NOW_MS), (early, NOW_MS - 7000), ("?", NOW_MS)):
        vendor, _ = acme(answer({"rows": rows(day(0))}, date=date))
        assert vendor.fetch(query("1d", day(0), day(3))).server_now_ms == expected


def test_rows_of_a_slow_answer_have_the_time_of_the_request() -> None:
    """A bar forming at the request is not closed by the date of an answer after its end."""
    clock = ManualClock(NOW_MS + 60_000)  # a minute fast

    def slowly(_: HttpRequest) -> HttpResponse:
        clock.advance(8)
        return answer({"rows": rows(day(0))}, date=formatdate(NOW_MS / 1000, usegmt=True))

    vendor = AcmeDataDownloader(sender=sender_over(ScriptedTransport(slowly), clock=clock))
    asked = query("1d", day(0), day(3), now_ms=NOW_MS + 60_000)
    assert vendor.fetch(asked).server_now_ms == NOW_MS - 8_000


@pytest.mark.parametrize(
    "asked, said",
    [
        (query("4h", 0, 1), "serves the timeframes 1m 1d, not 4h"),
        (query("1d", 0, 1, Instrument("AAPL", "stock")), "serves crypto, not stock"),
        (query("1m", NOW_MS - 32 * DAY_MS, NOW_MS), "1m bars only for the last 30 days"),
    ],
)
def test_an_undeclared_timeframe_or_asset_class_is_refused_without_a_request(
    asked: Any, said: str
) -> None:
    vendor, transport = acme()
    with pytest.raises(CapabilityError, match=said):
        vendor.fetch(asked)
    assert transport.asked == []


def test_a_span_limited_by_a_slightly_earlier_clock_is_accepted() -> None:
    start = NOW_MS - 30 * DAY_MS - MINUTE_MS
    vendor, _ = acme(answer({"rows": rows(start)}))
    assert len(vendor.fetch(query("1m", start, start + 7 * DAY_MS)).table) == 1


@pytest.mark.parametrize(
    "body",
    [
        [], {}, {"rows": None}, {"rows": [[1]]}, {"rows": [["x"] * 6]}, {"rows": [[None] * 6]},
        {"rows": [[10**400, 1, 1, 1, 1, 1]]}, {"rows": [[1, 10**400, 1, 1, 1, 1]]}, b"<html>",
        b"[" * 100_000, b"", b'{"rows": [[1, 2', "text", 7, {"rows": 7}, {"rows": "abc"},
    ],
    ids=lambda body: repr(body)[:24],
)  # fmt: skip
def test_each_malformed_answer_raises_a_format_error(body: Any) -> None:
    vendor, _ = acme(answer(body))
    with pytest.raises(ResponseFormatError) as caught:
        vendor.fetch(query("1d", day(0), day(3)))
    assert len(str(caught.value)) < 250
    assert caught.value.provider == "acme"


def test_a_failure_on_the_second_page_fails_the_request() -> None:
    vendor, _ = acme(
        answer({"rows": rows(day(0)), "cursor": "b"}), *[answer(status=503) for _ in range(3)]
    )
    with pytest.raises(UnavailableError) as caught:
        vendor.fetch(query("1d", day(0), day(3)))
    assert caught.value.symbol == "BTCUSDT"


def test_retries_are_counted_as_requests() -> None:
    vendor, _ = acme(answer(status=503), answer({"rows": rows(day(0))}))
    assert vendor.fetch(query("1d", day(0), day(3))).requests == 2
