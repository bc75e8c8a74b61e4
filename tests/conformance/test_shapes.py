"""The declared shape of vendor responses: recordings have it, and a change is reported once a day."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from contextlib import suppress
from dataclasses import replace
from typing import Any

import pytest

from src.data.core.bars.observer import Observer
from src.data.core.clock import ManualClock
from src.data.core.model.request.capabilities import FetchQuery, Limits
from src.data.core.model.request.http import HttpRequest, HttpResponse
from src.data.core.model.request.shape import shape_change
from src.data.core.model.time.instant import DAY_MS, parse_iso
from src.data.core.model.time.span import Span
from src.data.core.net.http.retry import RetryPolicy
from src.data.core.net.http.sender import Sender
from src.data.core.net.limits.limiter import Limiter
from src.data.core.net.limits.state import State
from src.data.core.observability.events import Event, ShapeChanged
from src.data.core.registry import SERVED
from src.data.core.vendors.base import BaseDataDownloader
from src.data.core.vendors.factory import downloader_class
from src.data.errors import DataError
from tests.core.vendors.acme import recorded
from tests.reference import REFERENCE, needs_reference
from tests.vendor_server import Fault

from .bench import Bench
from .recordings import EXCHANGES, Recording, all_known, question_of, vendor_over
from .sheet import ABSENT, Series, examined, sheet_of

SHAPED = [name for name in SERVED if downloader_class(name).shapes]
KNOWN = [one for one in all_known() if one.vendor not in EXCHANGES] if REFERENCE else []
Row = dict[str, Any] | list[Any]
_NEW = "brand\x1bnew" + "w" * 100


def _close(row: Row) -> Any:
    """Return the key of the close."""
    return 4 if isinstance(row, list) else next(k for k in row if "close" in k or k == "c")


def _more(row: Row) -> None:
    row.append(1) if isinstance(row, list) else row.update({_NEW: "s3cret"})


def _less(row: Row) -> None:
    row.pop() if isinstance(row, list) else row.pop(_close(row))


def _retyped(row: Row) -> None:
    values, key = row, _close(row)
    if isinstance(row[key], list):  # a column
        values, key = row[key], 0
    value = values[key]
    values[key] = float(value) if isinstance(value, str) else str(value)


CHANGES: dict[str, Callable[[Row], None]] = {"new": _more, "missing": _less, "retyped": _retyped}


def _changed(vendor: str, answer: HttpResponse, change: Callable[[Row], None]) -> HttpResponse:
    body = json.loads(answer.body)
    row = body
    for key in filter(None, sheet_of(vendor).row.split(".")):
        names = list(row) if isinstance(row, dict) else []
        row = row[int(key)] if key.isdigit() else row[names[-1] if key == "*" else key]
    change(row)
    return replace(answer, body=json.dumps(body).encode())


def _outermost(answer: HttpResponse) -> HttpResponse:
    """Return an answer with one more key in its outermost object, row or header."""
    if answer.body[:1] not in (b"{", b"["):
        return replace(answer, body=b"extra," + answer.body)
    body = json.loads(answer.body)
    _more(body if isinstance(body, dict) else body[0])
    return replace(answer, body=json.dumps(body).encode())


class Ear:
    """A vendor over a transport, whose attempts are observed as a manager does."""

    def __init__(
        self,
        vendor: str,
        transport: Any,
        clock: ManualClock,
        url: str | None = None,
        keys: Any = None,
    ) -> None:
        self.observer, self.events = Observer(clock), list[Event]()
        self.observer.on_event(self.events.append)
        limiter = Limiter(vendor, Limits(), State(None, clock))
        once, hook = RetryPolicy(attempts=1), self.observer.attempted
        sender = Sender(transport, limiter, clock, once, hook)
        made = vendor_over(vendor)
        keys = keys or {
            name if isinstance(name, str) else name[0]: "canary" for name in made.secrets
        }
        self.vendor: BaseDataDownloader = downloader_class(vendor)(
            credentials=keys, base_url=url, sender=sender
        )

    @property
    def told(self) -> list[ShapeChanged]:
        return [event for event in self.events if isinstance(event, ShapeChanged)]

    @property
    def counts(self) -> dict[str, int]:
        found = self.observer.metrics.snapshot()["vendors"]
        return next(iter(found.values()))["shape_changes"] if found else {}


class Again:
    """A transport that gives one answer again and again, and tells no splits beside it."""

    def __init__(self, answer: HttpResponse) -> None:
        self._answer = answer

    def send(self, request: HttpRequest) -> HttpResponse:
        if "/splits/" in request.url:  # of EODHD's days, whose volumes need them
            return replace(self._answer, url=request.url, body=b"[]")
        return replace(self._answer, url=request.url)


def ids(one: Recording) -> str:
    return f"{one.vendor}-{one.name}"


def test_every_vendor_is_compared_or_says_why_not() -> None:
    shapeless = [vendor for vendor in examined() if sheet_of(vendor).shapeless]
    assert sorted([*SHAPED, *shapeless, *ABSENT]) == sorted(SERVED)


@needs_reference
@pytest.mark.parametrize("one", [one for one in KNOWN if one.what == "bars"], ids=ids)
def test_recorded_bars_are_of_the_shape_that_is_known(one: Recording) -> None:
    found, answer = recorded(one.vendor, one.name)
    vendor = vendor_over(one.vendor)
    url = found["request"]["url"]
    if (
        one.vendor != "coingecko"
    ):  # whose range would be too long ago; others are of older addresses
        url = vendor.bars_request(question_of(one), None).url
    assert shape_change(vendor.shapes, url, answer) is None
    assert shape_change(vendor.shapes, url, _outermost(answer)), "it was compared"


@needs_reference
def test_recorded_errors_and_other_products_are_not_compared() -> None:
    """But for one: a chart of closes alone, which its parser cannot read."""
    others = [one for one in KNOWN if one.what != "bars"]
    told = []
    for one in others:
        vendor, (found, answer) = vendor_over(one.vendor), recorded(one.vendor, one.name)
        urls = [found["request"]["url"]]
        if one.name.startswith("error"):
            urls = [f"https://any/{end.replace('*', 'x')}" for end, _ in vendor.shapes]
        if vendor.classify(answer) is None:  # which comes first
            told += [one.name for url in urls if shape_change(vendor.shapes, url, answer)]
    assert len(others) > 100
    assert told == ["chart-MUV2.DE-1d-2017-11-to-2018-05"]


def _sound(vendor: str, bench_of: Callable[[str], Bench]) -> tuple[FetchQuery, HttpResponse]:
    """Return a question and the answer to it: the recorded one, or that of the vendor server."""
    if not (name := sheet_of(vendor).changed):
        bench = bench_of(vendor)
        asked = bench.query(bench.sheet.main)
        return asked, bench.transport.send(bench.downloader().bars_request(asked, None))
    one = next(o for o in KNOWN if (o.vendor, o.name) == (vendor, name))
    return question_of(one), recorded(vendor, name)[1]


@pytest.mark.parametrize("change", CHANGES)
@pytest.mark.parametrize(
    "vendor", [pytest.param(v, marks=[needs_reference] * bool(sheet_of(v).changed)) for v in SHAPED]
)
def test_a_changed_answer_is_told_once_a_day(
    vendor: str, change: str, caplog: pytest.LogCaptureFixture, bench_of: Callable[[str], Bench]
) -> None:
    clock = ManualClock(parse_iso("2024-06-12T15:00:30"))
    asked, sound = _sound(vendor, bench_of)
    if vendor == "coingecko":
        span = Span(clock.now_ms() - 2 * DAY_MS, clock.now_ms())
        asked = replace(asked, span=span, now_ms=clock.now_ms())
    answer = _changed(vendor, sound, CHANGES[change])
    ear = Ear(vendor, Again(answer), clock)
    for _ in range(2):
        with suppress(DataError):  # what its parser makes of it is another matter
            ear.vendor.fetch(replace(asked, insist=True))
    (event,) = ear.told
    (found,) = event.differences
    assert (event.vendor, found.change) == (vendor, change)
    assert event.endpoint in [end for end, _ in ear.vendor.shapes]
    assert found.key.isprintable() and len(found.key) < 120
    types = {"number", "text", "list"}
    assert found.expected in ({"nothing"} if change == "new" else types)
    assert found.came in ({"nothing"} if change == "missing" else types)
    assert ear.counts[change] >= 1 and sum(ear.counts.values()) == ear.counts[change]
    (line,) = [r for r in caplog.records if "as its parser expects" in r.getMessage()]
    assert (line.levelname, line.provider) == ("WARNING", vendor)  # type: ignore[attr-defined]
    assert found.key in line.getMessage() and "s3cret" not in line.getMessage() + repr(event)
    clock.advance(86_400)
    with suppress(DataError):
        ear.vendor.fetch(replace(asked, insist=True))
    assert len(ear.told) == 2, "another day"


def _asked(bench: Bench) -> Iterator[Series]:
    sheet = bench.sheet
    main = sheet.main
    yield from sheet.series
    yield from (sheet.young, sheet.gone, *([sheet.paged] if sheet.paged else []))
    yield Series(sheet.unknown, "1d", main.start, main.end)


@pytest.mark.parametrize("vendor", SHAPED)
def test_no_answer_of_the_vendor_server_is_otherwise(
    vendor: str, bench_of: Callable[[str], Bench]
) -> None:
    bench = bench_of(vendor)
    keys = bench.sheet.keys
    ear = Ear(vendor, bench.transport, bench.clock, bench.url(), keys)
    sent = 0
    for series in _asked(bench):
        with suppress(DataError):
            ear.vendor.fetch(bench.query(series))
            sent += 1
    if bench.sheet.main.instrument.asset_class == "stock":
        year = Series("AAPL", "1d", "2023-06-01", "2024-06-01")
        with suppress(DataError):
            ear.vendor.fetch_actions(year.instrument, year.span, bench.clock.now_ms())
    assert sent >= len(bench.sheet.series)
    faults = [
        *map(Fault.lie, ("html", "error", "[]", "{}", "null")), Fault.cut(), Fault.nulls(0),
        Fault.empty(), *map(Fault.status, (403, 429, 503)),
    ]  # fmt: skip
    for fault in faults:
        fresh = Ear(vendor, bench.transport, bench.clock, bench.url(), keys)
        bench.heal()
        bench.fault(fault)
        with suppress(DataError):
            fresh.vendor.fetch(bench.query(bench.sheet.main))
        assert not fresh.told, (fault.name, fresh.told)
    assert not ear.told, ear.told
    assert set(ear.counts.values()) == {0}


def test_actions_are_compared_too(bench_of: Callable[[str], Bench]) -> None:
    """Each vendor that has an address for them tells of a dividend that is otherwise."""
    apart = [n for n in SHAPED if downloader_class(n).capabilities.actions_apart]
    told = []
    for name in apart:
        bench = bench_of(name)
        ear = Ear(name, _Stamped(bench.transport), bench.clock, bench.url(), bench.sheet.keys)
        asked = Series("AAPL", "1d", "2023-01-01", "2024-06-01")
        with suppress(DataError):
            ear.vendor.fetch_actions(asked.instrument, asked.span, bench.clock.now_ms())
        told += [event.vendor for event in ear.told]
    assert told == apart and len(apart) >= 6


class _Stamped:
    """A transport that adds a key to each object of an answer."""

    def __init__(self, inner: Any) -> None:
        self._inner = inner

    def send(self, request: HttpRequest) -> HttpResponse:
        answer: HttpResponse = self._inner.send(request)
        return replace(
            answer,
            body=answer.body.replace(b'"date"', b'"x": 1, "date"')
            .replace(b'"ex_', b'"x": 1, "ex_')
            .replace(b'"execution', b'"x": 1, "execution'),
        )
