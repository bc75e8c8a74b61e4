"""Checks of corrupted answers: invalid rows, fields and bytes."""

from __future__ import annotations

import itertools
import json
import re
import warnings
from collections.abc import Callable, Iterator
from dataclasses import replace
from typing import Any

import pytest

from src.data.core.calendars.localtime import local_to_utc
from src.data.core.model.identity.instrument import Instrument
from src.data.core.model.identity.kind import Kind
from src.data.core.model.time.instant import DAY_MS, HOUR_MS, iso
from src.data.core.symbols.assets import named_at
from src.data.core.vendors.dates import zone_of
from src.data.errors import (
    AllProvidersFailedError,
    CapabilityError,
    DataError,
    IncompleteDataWarning,
    NoDataError,
    SymbolNotFoundError,
    UnavailableError,
)
from tests.e2e.scripted_vendor import ScriptedVendor, route_to
from tests.vendor_server import Fault
from tests.vendor_server.face import Page, Reply
from tests.vendor_server.listings import Listing

from .bench import Bench, agree
from .sheet import Series

_JUNK = ("", "{}", "[]", "null", '"text"', "17", '{"x": [1]}', "[[]]", "[null]")
Path = tuple[str, ...]


def html_is_no_answer(bench: Bench) -> None:
    """A page for people with HTTP 200 cannot be read."""
    bench.fault(Fault.lie("html"))
    bench.refuses("html")


def half_an_answer_is_none(bench: Bench) -> None:
    """A body that ends early is an error, whether its length was told right or wrong."""
    for fault in (Fault.cut(0.5), Fault.cut(0.95), Fault.truncate()):
        bench.fault(fault, times=1)
        assert bench.right_or_refused() is not None, fault.name


def junk_is_never_nothing(bench: Bench) -> None:
    """Another document is an error; nothing is only what the vendor itself says so with."""
    by_class = {series.instrument.asset_class: series for series in bench.sheet.series[::-1]}
    for series, body in itertools.product(by_class.values(), _JUNK):
        bench.fault(Fault.lie(body), times=1)
        if body in bench.sheet.empties:
            bench.refuses("nothing", series)
        else:
            assert bench.right_or_refused(series=series) is not None, body


def what_fails_is_never_no_splits(bench: Bench) -> None:
    """Where splits cannot be had the answer is an error: without them prices are wrong."""
    vendor, main = bench.downloader(), bench.sheet.main
    nothing = {Fault.lie(body).name for body in bench.sheet.empties | bench.sheet.actionless}
    for fault in (*map(Fault.lie, _JUNK), Fault.lie("html"), Fault.cut(), Fault.status(503)):
        if fault.name in nothing:
            continue
        bench.heal()
        bench.fault(fault)
        with pytest.raises(DataError):
            vendor.fetch_actions(main.instrument, main.span, bench.clock.now_ms())


def a_field_left_out_is_never_a_wrong_bar(bench: Bench) -> None:
    """Whatever field is absent or empty: an error that can be read, or the bars all the same."""
    bodies: list[bytes] = []
    bench.fault(Fault("look", reply=lambda r: bodies.append(r.body) or r), times=1)
    bench.fetch(bench.sheet.main)
    is_document = bodies[0][:1] in (b"{", b"[")
    spoilt = _documents(json.loads(bodies[0])) if is_document else _tables(bodies[0].decode())
    tried = 0
    for why, body in spoilt:
        if why.partition(": ")[2] not in bench.sheet.absences:
            bench.fault(Fault(why, reply=lambda r, b=body: replace(r, body=b.encode())), times=1)
            _assert_no_wrong_bar(bench, why)
            tried += 1
    assert tried >= 5


def _documents(body: Any) -> Iterator[tuple[str, str]]:
    """Yield a document without each of its fields, and with null there."""
    for path in sorted(set(_paths(body))):
        for how in ("absent", "null"):
            if how == "null" or (path[-1] != "*" and not path[-1].isdigit()):
                yield f"{how}: {'.'.join(path)}", json.dumps(_without(body, path, how))


def _tables(text: str) -> Iterator[tuple[str, str]]:
    """Yield lines of fields without each of their columns, and with nothing in it."""
    head, *rows = [line.split(",") for line in text.splitlines()]
    for at, name in enumerate(head):
        shorter = [row[:at] + row[at + 1 :] for row in (head, *rows)]
        emptied = [head, *([*row[:at], "", *row[at + 1 :]] for row in rows)]
        for how, lines in (("absent", shorter), ("empty", emptied)):
            yield f"{how}: {name}", "\n".join(",".join(line) for line in lines)


def _assert_no_wrong_bar(bench: Bench, why: str) -> None:
    """See that every bar of the main series is right, told as bad, or refused with the others."""
    wanted = bench.truth(bench.sheet.main)
    found = bench.outcome(bench.sheet.main)
    assert not isinstance(found, NoDataError), f"taken for nothing there: {why}"
    if isinstance(found, DataError):
        return
    got = bench.told(found.good)
    true = {bar[0]: bar for bar in wanted}
    assert agree(got, [true[bar[0]] for bar in got]), f"wrong bars: {why}"
    assert len(got) + len(found.bad) + found.nulls == len(wanted), f"bars are lost: {why}"


def rows_of_nulls_are_no_bars(bench: Bench) -> None:
    """Rows without prices are missing, the others are there; or the answer is refused."""
    wanted = bench.truth(bench.sheet.main)
    empty = (wanted[1], wanted[-2])
    bench.fault(_of(Fault.nulls, *empty))
    bench.right_or_refused([bar for bar in wanted if bar not in empty])


def rows_that_cannot_be_bars_are_told(bench: Bench) -> None:
    """A high below the low is neither passed on as good nor dropped in silence."""
    wanted = bench.truth(bench.sheet.main)
    bench.fault(_of(Fault.bad_ohlc, wanted[2]))
    found = bench.checked(bench.sheet.main)
    assert bench.told(found.good) == [*wanted[:2], *wanted[3:]]
    assert [row.bar.stamp_ms for row in found.bad] == [wanted[2][0]]


def _of(make: Callable[..., Fault], *bars: tuple[float, ...]) -> Fault:
    """Return a fault of the rows of these bars, wherever they stand in a page."""
    stamps = {bar[0] for bar in bars}

    def change(page: Page) -> Page:
        places = [i for i, row in enumerate(page.rows) if row.stamp_ms in stamps]
        fault = make(*places)
        return fault.rows(page) if fault.rows else page

    return Fault.on_rows("rows", change)


def rows_may_come_in_any_order(bench: Bench) -> None:
    """Newest first, or in no order at all."""
    for fault in (Fault.newest_first(), Fault.shuffle()):
        bench.fault(fault)
        assert bench.bars(bench.sheet.main) == bench.truth(bench.sheet.main), fault.name
        bench.heal()


def rows_may_come_twice(bench: Bench) -> None:
    """One bar for each stamp."""
    bench.fault(Fault.duplicate(0, 2, -1))
    assert bench.bars(bench.sheet.main) == bench.truth(bench.sheet.main)


def rows_may_lie_out_of_the_window(bench: Bench) -> None:
    """What was not asked for is cut off."""
    bench.fault(Fault.stray(2, 2))
    assert bench.bars(bench.sheet.main) == bench.truth(bench.sheet.main)


def stamps_in_another_unit_are_read_or_refused(bench: Bench) -> None:
    """Seconds, milli-, micro- and nanoseconds: never bars of another time."""
    for unit in ("s", "ms", "us", "ns"):
        bench.fault(Fault.stamps_in(unit), times=1)
        bench.right_or_refused(why=unit)


def days_are_dated_by_whatever_hour_they_are_labelled_with(bench: Bench) -> None:
    """The open, the close, 16:00 or midnight at the venue: the same session."""
    zone = zone_of(bench.sheet.main.instrument)

    def labelled(how: str, page: Page) -> Page:
        labels = {
            "open": [row.opens_ms for row in page.rows],
            "close": [row.closes_ms for row in page.rows],
            "16:00": [local_to_utc(zone, row.stamp_ms + 16 * HOUR_MS) for row in page.rows],
            "midnight": [local_to_utc(zone, row.stamp_ms) for row in page.rows],
        }
        return replace(page, labels=tuple(labels[how]))

    for how in ("open", "close", "16:00", "midnight"):
        bench.fault(Fault.on_rows(how, lambda page, h=how: labelled(h, page)), times=1)
        assert bench.bars(bench.sheet.main) == bench.truth(bench.sheet.main), how


def a_page_cut_short_is_never_silent(bench: Bench) -> None:
    """Rows that a page lacks at either end are had otherwise, or the user is warned."""
    series = bench.sheet.main
    wanted = bench.truth(series)
    for fault in (
        Fault.cap(len(wanted) - 2),
        Fault.cap_newest(len(wanted) - 2),
        _of(Fault.drop, wanted[2]),
    ):
        bench.fault(fault)
        last = iso(series.span.end - DAY_MS)[:10]
        with warnings.catch_warnings(record=True) as caught:
            warnings.simplefilter("always")
            frame = bench.manager().get_ohlcv(series.symbol, "1d", series.start, last)
        got = [int(at.value // 1_000_000) for at in frame.index]
        assert set(got) <= {bar[0] for bar in wanted}
        warned = any(issubclass(w.category, IncompleteDataWarning) for w in caught)
        assert warned or len(got) == len(wanted), fault.name
        bench.heal()


def another_symbol_is_never_the_one_asked_for(bench: Bench) -> None:
    """An answer that names another symbol is an error: the same bars may be another asset's."""
    by_class = {series.instrument.asset_class: series for series in bench.sheet.series[::-1]}
    named = 0
    for series in by_class.values():
        names = _names_of(series)

        def renamed(reply: Reply, names: tuple[str, ...] = names) -> Reply:
            nonlocal named
            body = reply.body.decode()
            for name in names:
                body = re.sub(f'"{re.escape(name)}"', '"WRNG"', body, flags=re.IGNORECASE)
            named += body != reply.body.decode()
            return replace(reply, body=body.encode())

        before = named
        bench.fault(Fault("another symbol", reply=renamed), times=1)
        if bench.right_or_refused(series=series) is None:
            assert named == before, f"bars of WRNG are taken for those of {series.symbol}"
    assert named, "it names no symbol: excuse it"


def splits_of_another_symbol_are_refused(bench: Bench) -> None:
    """An answer about the splits and dividends of another symbol is an error."""
    vendor, named = bench.downloader(), []

    def renamed(reply: Reply) -> Reply:
        body = reply.body.replace(b'"AAPL"', b'"WRNG"')
        named.append(body != reply.body)
        return replace(reply, body=body)

    bench.fault(Fault("another symbol", reply=renamed))
    who = Series("AAPL", "1d", "2023-08-01", "2024-06-01")
    with pytest.raises(DataError, match="WRNG"):
        vendor.fetch_actions(who.instrument, who.span, bench.clock.now_ms())
    assert any(named), "it names no symbol: excuse it"


def the_same_letters_elsewhere_are_another_thing(bench: Bench) -> None:
    """A symbol that is unknown or down at its own venue is not served by a namesake's bars."""
    served = bench.downloader().capabilities.asset_classes
    if "crypto" in served:
        _assert_no_other_coin(bench)
    if "stock" in served:
        _assert_no_other_share(bench)


def _assert_no_other_coin(bench: Bench) -> None:
    """Ask for a pair of an exchange, which this vendor has under the same letters, behind it."""
    for symbol, unit in (("META-USD", "USD"), ("METAUSDT", "USDT")):
        bench.vendors.truth.add(Listing(symbol, "crypto", 0.02, decimals=6, currency=unit))
    for error in (SymbolNotFoundError("unknown"), UnavailableError("down")):
        exchange, manager = ScriptedVendor(bench.vendors), bench.manager()
        exchange.name = "exchange"
        exchange.capabilities = replace(
            exchange.capabilities, kinds={"crypto": Kind("24h", "clock", "exchange")}
        )
        exchange.errors = [error] * 20
        route_to(bench.patch, manager, exchange=exchange, **{bench.name: bench.downloader()})
        instrument = manager.provider_selector.instrument("METAUSDT")
        with pytest.raises(AllProvidersFailedError, match=_named(bench, instrument)) as caught:
            manager.get_ohlcv("METAUSDT", "1d", "2024-06-01", "2024-06-05")
        is_unknown = isinstance(error, SymbolNotFoundError)
        assert isinstance(caught.value, SymbolNotFoundError) is is_unknown
    assert bench.asked() == 0
    # Alone, and asked by its own name, it is the thing itself.
    pinned = {"provider": bench.name}
    restated = named_at(Series("METAUSDT", "1d", "", "").instrument, bench.name) != "METAUSDT"
    if restated:
        with pytest.raises(SymbolNotFoundError, match="META-USD with provider="):
            bench.manager().get_ohlcv("METAUSDT", "1d", "2024-06-01", "2024-06-05", **pinned)
        assert bench.asked() == 0


def _named(bench: Bench, instrument: Instrument) -> str:
    """Return how an error names a vendor that was not asked; one without such a coin is not named."""
    try:
        bench.downloader().spelled(instrument)
    except CapabilityError:
        return ""
    return f"{bench.name}(:| is skipped)"


def _assert_no_other_share(bench: Bench) -> None:
    """Ask for a share of London; one of the same name is listed in New York."""
    share = Series("VODX.L", "1d", "2024-05-28", "2024-06-05")
    bench.vendors.truth.add(
        Listing(
            "VODX", "stock", 500.0, calendar="XNYS", timezone="America/New_York", exchange="NMS"
        )
    )
    found = bench.outcome(share)
    assert isinstance(found, DataError), "a share of New York is taken for one of London"


def _names_of(series: Series) -> tuple[str, ...]:
    """Return what an answer may call a series, whoever answers."""
    who = series.instrument
    plain = {who.symbol, *who.spellings.values()}
    plain |= {name.partition(".")[0] for name in plain}
    if who.base and who.quote:
        plain |= {who.base, *(f"{who.base}{mark}{who.quote}" for mark in ("", "/", "-"))}
        plain |= {f"{mark}:{who.base}{who.quote}" for mark in "XC"}
    return tuple(sorted(plain, key=len, reverse=True))


def _paths(body: Any, at: Path = ()) -> Iterator[Path]:
    """Yield where something stands; ``*`` is any place in a list, or any name in a dictionary."""
    if isinstance(body, dict):
        for key, value in body.items():
            name = "*" if _is_map(body) else key
            yield (*at, name)
            yield from _paths(value, (*at, name))
    elif isinstance(body, list) and body:
        if isinstance(body[0], dict | list):
            yield from _paths(body[0], (*at, "*"))
        elif at[-1] == "*":  # a row: its columns stand beside each other
            yield from ((*at, str(place)) for place in range(len(body)))
        else:
            yield (*at, "*")


def _is_map(body: dict[str, Any]) -> bool:
    """Tell whether a dictionary is a list by another name: dates to rows of the same fields."""
    fields = [sorted(v) if isinstance(v, dict) else None for v in body.values()]
    return len(fields) > 2 and fields[0] is not None and all(f == fields[0] for f in fields)


def _without(body: Any, path: Path, how: str) -> Any:
    """Return a copy in which what stands at ``path`` is absent or null."""
    if not path:
        return None
    here, *rest = path
    if isinstance(body, dict):
        chosen = body if here == "*" else {here: None}
        kept = {k: v for k, v in body.items() if k not in chosen or rest or how == "null"}
        return {k: _without(v, tuple(rest), how) if k in chosen else v for k, v in kept.items()}
    if isinstance(body, list):
        return [
            _without(value, tuple(rest), how) if here in ("*", str(place)) else value
            for place, value in enumerate(body)
        ]
    return body
