"""Each vendor without a second one: answers of another shape, stamps off the grid, only bad rows.

Most of it asks the whole library with this vendor and no other, and again after a restart.
"""

from __future__ import annotations

import itertools
import json
import warnings
from collections.abc import Callable, Iterator, Mapping
from dataclasses import replace
from itertools import islice
from typing import Any

import pandas as pd
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from src.data.core.model.answer.provenance import ATTRS_KEY
from src.data.core.model.request.http import HttpRequest, HttpResponse
from src.data.core.model.time.instant import MINUTE_MS, iso
from src.data.core.net.http.http import HttpTransport
from src.data.errors import (
    AllProvidersFailedError,
    DataError,
    IncompleteDataError,
    IncompleteDataWarning,
    NoDataError,
)
from tests.core.cache.counts import FULL, examples
from tests.vendor_server import Fault
from tests.vendor_server.face import Page

from .bench import Bench, agree
from .sheet import Series, examined, sheet_of
from .spoilt import _paths

# What stands in the place of a part of an answer. ``True`` is no number, and an empty text or
# mapping is no empty list.
_SHAPES: Mapping[str, Any] = {
    "{}": {}, "[]": [], '""': "", '"x"': "x", "true": True, "[[]]": [[]], "{'x': 1}": {"x": 1},
}  # fmt: skip
# Hours of a venue once opened so long after the hour, for days.
_LATE_MS = 28 * MINUTE_MS + 14_789
_JSON = [v for v in examined() if v not in ("local", "eodhd", "ccxt")]


@pytest.mark.parametrize("vendor", _JSON)
def test_a_part_of_another_shape_is_never_a_wrong_bar_and_never_nothing(
    vendor: str, bench_of: Callable[[str], Bench]
) -> None:
    bench = bench_of(vendor)
    bench.transport = first = _First(bench.transport)
    bench.fetch(bench.sheet.main)
    wanted = bench.truth(bench.sheet.main)
    # A full run gives each place all seven shapes; else two or three of them, others at the next place.
    every = _misshapen(first.answer.json())
    for path, name, document in islice(every, 0, None, 1 if FULL else 3):
        first.body = json.dumps(document).encode()
        why = f"{name} at {path}"
        found = bench.outcome(bench.sheet.main)
        if (path, name) in bench.sheet.nothings:
            continue
        assert not isinstance(found, NoDataError), f"taken for nothing there: {why}"
        if isinstance(found, DataError):
            continue
        got = bench.told(found.good)
        true = {bar[0]: bar for bar in wanted}
        assert agree(got, [true[bar[0]] for bar in got]), f"wrong bars: {why}"
        assert len(got) + len(found.bad) + found.nulls == len(wanted), f"bars are lost: {why}"


# What JSON can hold beside the shapes above, of types and sizes that no field has.
_ODD = st.one_of(
    st.sampled_from([["USD"], [None], {"x": {"y": [1]}}, "\x1b[2J", "\u202eUSD", "USD\n", "x" * 5000]),
    st.sampled_from([-1, 0.5, 10**30, -(10**18), 1e300, float("nan"), float("inf"), False, True]),
    st.recursive(
        st.none() | st.booleans() | st.floats() | st.integers() | st.text(max_size=60),
        lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=5), inner, max_size=3),
        max_leaves=4,
    ),
)  # fmt: skip


@pytest.mark.parametrize("vendor", _JSON)
def test_a_field_of_any_type_ends_no_call(vendor: str, bench_of: Callable[[str], Bench]) -> None:
    bench = bench_of(vendor)
    bench.transport = first = _First(bench.transport)
    bench.fetch(bench.sheet.main)
    body = first.answer.json()
    # Any text is a token of a page.
    places = sorted(set(_paths(body)) - {("next_page_token",)})
    numbers = itertools.count()
    true = set(bench.truth(bench.sheet.main))

    @settings(max_examples=examples(60), deadline=None, database=None)
    @given(st.sampled_from(places), _ODD)
    def check(path: tuple[str, ...], value: Any) -> None:
        first.body = json.dumps(_with(body, path, value)).encode()
        manager = bench.manager(str(next(numbers)))
        start, end = bench.sheet.main.span
        asked = bench.sheet.main.symbol, bench.sheet.main.timeframe, iso(start), iso(end - 1)
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            try:
                frame = manager.get_ohlcv(*asked, provider=bench.name)
            except DataError as error:
                text = str(error)
            else:
                text = ""
            first.body = None
        if text:
            assert len(text) < 2000 and "\x1b" not in text
            return
        if isinstance(value, list | dict | bool):  # others may be prices
            assert set(_bars(bench, frame.dropna())) <= true, f"a wrong bar: {value!r} at {path}"
        unit = frame.attrs[ATTRS_KEY]["kind"].get("unit", "")
        assert isinstance(unit, str) and len(unit) <= 40 and unit.isprintable()

    check()


@pytest.mark.parametrize("vendor", [*_JSON, "eodhd"])
def test_changed_bytes_of_an_answer_raise_a_typed_error_and_never_mean_nothing(
    vendor: str, bench_of: Callable[[str], Bench]
) -> None:
    bench = bench_of(vendor)
    bench.transport = first = _First(bench.transport)
    bench.fetch(bench.sheet.main)
    body = first.answer.body
    changes = st.tuples(st.integers(0, len(body) - 1), st.integers(0, 9), st.binary(max_size=9))

    @settings(max_examples=examples(300), derandomize=True, deadline=None)
    @given(st.lists(changes, min_size=1, max_size=3))
    def check(found: list[tuple[int, int, bytes]]) -> None:
        changed = bytearray(body)
        for at, gone, new in found:
            changed[at : at + gone] = new
        first.body = bytes(changed)
        assert not isinstance(bench.outcome(bench.sheet.main), NoDataError)

    check()


class _First(HttpTransport):
    """Keeps the first answer, and gives it with another body where one is laid down for the next.

    It takes no way over the network then: a document in each of many shapes is many answers.
    """

    def __init__(self, carrier: HttpTransport) -> None:
        super().__init__()
        self._carrier = carrier
        self.answer = HttpResponse(0)
        self.body: bytes | None = None

    def send(self, request: HttpRequest) -> HttpResponse:
        if self.body is not None:
            body, self.body = self.body, None
            return replace(self.answer, body=body)
        answer = self._carrier.send(request)
        self.answer = self.answer if self.answer.status else answer
        return answer

    def close(self) -> None:
        self._carrier.close()


def _misshapen(body: Any) -> Iterator[tuple[str, str, Any]]:
    """Yield a document with another shape in each of its places, one at a time."""
    for path in sorted(set(_paths(body))):
        for name, shape in _SHAPES.items():
            if (path, name) == (("next_page_token",), '"x"'):
                continue  # it is one
            yield ".".join(path), name, _with(body, path, shape)


def _with(body: Any, path: tuple[str, ...], shape: Any) -> Any:
    """Return a copy with ``shape`` at a path; ``*`` is the first place in a list or mapping."""
    if not path:
        return shape
    here, *rest = path
    if isinstance(body, dict):
        chosen = next(iter(body)) if here == "*" else here
        return {k: _with(v, tuple(rest), shape) if k == chosen else v for k, v in body.items()}
    at = 0 if here == "*" else int(here)
    return [_with(v, tuple(rest), shape) if i == at else v for i, v in enumerate(body)]


@pytest.mark.parametrize("vendor", examined())
def test_stamps_off_the_grid_end_nothing(vendor: str, bench_of: Callable[[str], Bench]) -> None:
    bench = bench_of(vendor)
    series = _intraday(bench)
    wanted = bench.truth(series)
    moved, by_ms = {bar[0] for bar in wanted[2:5]}, _LATE_MS % (series.frame.step_ms or 1)

    def late(page: Page) -> Page:
        pairs = zip(page.labels, page.rows, strict=True)
        labels = [at + by_ms * (row.stamp_ms in moved) for at, row in pairs]
        return replace(page, labels=tuple(labels))

    bench.fault(Fault.on_rows("late", late))
    for _ in range(2):
        frame, said = _answer(bench, series)
        assert set(_bars(bench, frame)) <= set(wanted), "a bar that is none"
        assert len(frame) == len(wanted) or said, "bars are missing without a word"
    bench.heal()
    bench.clock.advance(100 * 86_400)
    if not bench.downloader().capabilities.depth_days:
        frame, said = _answer(bench, series)
        assert _bars(bench, frame) == wanted and not said, "it is asked again"


@pytest.mark.parametrize("vendor", [v for v in examined() if v != "local"])
def test_nothing_but_bad_rows_is_rejected_and_never_final(
    vendor: str, bench_of: Callable[[str], Bench]
) -> None:
    bench = bench_of(vendor)
    series = bench.sheet.main
    wanted = bench.truth(series)
    bench.fault(Fault.on_rows("bad", lambda page: _spoilt(page)))
    for _ in range(2):
        frame, said = _answer(bench, series)
        assert said and "cannot be a bar" in said
        told = frame.attrs[ATTRS_KEY]
        assert not len(frame) and wanted and not told["complete"]
        assert told["gaps_total"] and told["flagged"] == []
    with pytest.raises(IncompleteDataError):
        _ask(bench, series, strict=True)


def _spoilt(page: Page) -> Page:
    changed = Fault.bad_ohlc(*range(len(page))).rows
    assert changed is not None
    return changed(page)


def _intraday(bench: Bench) -> Series:
    """Return the first series of minutes or hours on the grid of its vendor.

    Hours of shares that a vendor counts from the clock and sends for extended hours are made of its
    half hours, counted from the open.
    """
    caps = bench.downloader().capabilities
    sent = [one for one in bench.sheet.series if one.frame.is_intraday]
    intraday = [
        one
        for one in sent
        if (one.frame.step_ms or 0) <= 30 * MINUTE_MS or "stock" not in caps.intraday_kinds
    ]
    return intraday[0] if intraday else bench.sheet.main


def _ask(bench: Bench, series: Series, **wishes: Any) -> pd.DataFrame:
    """Ask a new manager on the same folder, as after a restart; this vendor alone."""
    start, end = series.span
    if bench.name in ("local", "twelvedata") and series.frame.is_intraday:
        wishes["adjustment"] = "raw"  # as they have them: they tell no splits
    return bench.manager().get_ohlcv(
        series.symbol, series.timeframe, iso(start), iso(end - 1), provider=bench.name, **wishes
    )


def _answer(bench: Bench, series: Series) -> tuple[pd.DataFrame, str]:
    """Return the frame, and what the user is warned of."""
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        frame = _ask(bench, series)
    said = [str(w.message) for w in caught if issubclass(w.category, IncompleteDataWarning)]
    return frame, " ".join(said)


def _bars(bench: Bench, frame: pd.DataFrame) -> list[tuple[float, ...]]:
    stamps = [int(at.value // 1_000_000) for at in frame.index]
    columns = [frame[name].tolist() for name in ("open", "high", "low", "close", "volume")]
    rows = zip(stamps, *columns, strict=True)
    return [row if bench.sheet.volume else row[:5] for row in rows]


_SHARES = [
    vendor
    for vendor in examined()
    if not sheet_of(vendor).files and sheet_of(vendor).main.instrument.asset_class == "stock"
]


@pytest.mark.parametrize("vendor", [v for v in _SHARES if v != "finnhub"])
@pytest.mark.parametrize("fault", [Fault.lie("html"), Fault.lie('"x"')], ids=lambda f: f.name)
def test_a_page_for_people_is_no_proof_that_nothing_traded(
    vendor: str, fault: Fault, bench_of: Callable[[str], Bench]
) -> None:
    bench = bench_of(vendor)
    label = _intraday(bench).timeframe
    saturday = Series("AAPL", label, "2024-06-08T14:00", "2024-06-08T15:00")
    bench.fault(fault)
    for _ in range(2):
        with pytest.raises(AllProvidersFailedError):
            _ask(bench, saturday)
