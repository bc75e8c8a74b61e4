"""Rows that another program or a compromised host has written: typed errors, and nothing is blocked."""

from __future__ import annotations

import json
import tracemalloc
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path
from typing import Any

import msgspec
import psycopg
import pytest

from src.data.cli.hosts import _shown
from src.data.clock import ManualClock
from src.data.errors import (
    CircuitOpenError,
    CorruptEntryError,
    RateLimitedError,
    SymbolNotFoundError,
)
from src.data.hosts import snapshot
from src.data.hosts.decisions import name_of
from src.data.hosts.entry import load, seal
from src.data.hosts.leases import SharedLeases
from src.data.hosts.limits import shared_limits
from src.data.hosts.log import Log, Position
from src.data.hosts.riders import FactChange, Fold
from src.data.hosts.snapshot import Part
from src.data.hosts.state import host_state
from src.data.hosts.store import SharedStore
from src.data.model.series import SeriesKey
from tests.cache.bars import DAILY, NOW

from .test_leases import Call, late
from .test_limits import CHECK, DOOR, Hosts, Server, ask
from .test_snapshots import PAIR, bars, filled, rows, shown

LARGEST = (1 << 63) - 1


@pytest.fixture
def server(log_url: str) -> Iterator[Server]:
    made = Server(log_url)
    yield made
    made.close()


@pytest.fixture
def host(server: Server, tmp_path: Path) -> Iterator[Hosts]:
    made = Hosts(server.url, tmp_path)
    yield made
    for log in made.logs.values():
        log.close()


def put(url: str, statement: str, *values: Any) -> None:
    """Change rows, of which there is at least one."""
    with psycopg.connect(url, autocommit=True) as db:
        assert db.execute(statement, values).rowcount > 0  # type: ignore[call-overload]


_OPS = {
    "scalar": "5",
    "object": "{}",
    "flat": "[1, 2, 3]",
    "not a list": "[[1700000000, 5]]",
    "short": '[[1700000000, [["spend"]]]]',
    "strings": '[[1700000000, [["spend", "x", "y", ["z"]]]]]',
    "null": '[[null, [["take_off", null, null, null]]]]',
    "huge": f'[[1700000000, [["spend", 0, 1{"0" * 400}, [60]]]]]',
    "digits": f"[[1{'0' * 5000}, []]]",
    "negative": '[[1700000000, [["spend", 0, -1000, [60]]]]]',
    "no window": '[[1700000000, [["spend", 0, 1, [0, -1]]]]]',
    "deep": "[" * 4000 + "]" * 4000,
    "many": "[" + ",".join(['[1700000000, [["spend", 0, 1, [60]]]]'] * 50_000) + "]",
    "large": '["' + "x" * (5 << 20) + '"]',
}


@pytest.mark.parametrize("column", ["base", "log"])
@pytest.mark.parametrize("name", _OPS)
def test_a_hostile_ledger_begins_anew(host: Hosts, server: Server, name: str, column: str) -> None:
    """As after a crash of the server, half of the limit counts as used, by all hosts together."""
    a = host("a", per_minute=50)
    ask(a)
    put(server.url, f"update onetape.bucket set {column} = %s::jsonb", _OPS[name])
    shared_limits(host.logs["a"])
    for one in (a, b := host("b", per_minute=50)):
        for _ in range(2):
            with one.guard(DOOR, CHECK):
                ask(one)
    server.advance(61)
    ask(a, 30)
    ask(b, 20)
    assert a.used() == {"60s": 30} and b.used() == {"60s": 50}


_FACTS = {
    "scalar": "5",
    "object": "{}",
    "empty": "[]",
    "strings": '["x", "y"]',
    "nulls": "[null, null, null, null, null, null]",
    "long pause": "[3e9, 1]",
    "absurd pause": "[1e30, 0]",
    "long circuit": '[9, 9, 3e9, 3e9, 0, "down"]',
    "absurd circuit": '[9, 9, 1e30, 1e30, 1e30, "down"]',
    "long symbol": "[3e9, 3e9, 1]",
    "huge": f"[1{'0' * 400}, 1]",
    "digits": f"[1{'0' * 5000}, 1]",
    "deep": "[" * 3000 + "]" * 3000,
    "no reason": '[1, 1, 1, 1, 1, ["r"]]',
}


@pytest.mark.parametrize("name", _FACTS)
@pytest.mark.parametrize("kind", ["pause", "circuit", "unknown"])
def test_a_hostile_fact_blocks_no_vendor_for_ever(
    host: Hosts, server: Server, kind: str, name: str
) -> None:
    a, b = host("a", per_minute=50), host("b", per_minute=50)
    with suppress(SymbolNotFoundError), a.guard(DOOR, CHECK):
        a.pause(1)
        raise SymbolNotFoundError("no such symbol")
    told = {f"circuit acme:- {DOOR}": FactChange([0, 0, 0, 0, 0, ""], 0, 1e6)}
    host.logs["a"].tell(told)
    put(
        server.url,
        "update onetape.fact set value = %s::jsonb, expires = null"
        " where split_part(name, ' ', 1) = %s",
        _FACTS[name],
        kind,
    )
    server.advance(2)
    refusals = (SymbolNotFoundError, CircuitOpenError, RateLimitedError)
    for one in (a, b):
        with suppress(*refusals), one.guard(DOOR, CHECK):
            ask(one)
    server.advance(31 * 86_400)
    for one in (a, b):
        with one.guard(DOOR, CHECK):
            ask(one)
    shared_limits(host.logs["a"])


@pytest.mark.parametrize("what", ["version", "folded"])
def test_what_rides_along_keeps_no_bars_from_being_stored(
    host: Hosts, server: Server, what: str, tmp_path: Path
) -> None:
    a = host("a", per_minute=50)
    log = host.logs["a"]
    with a.guard(DOOR):
        ask(a)
    if what == "version":
        server.run(f"update onetape.fact set version = {LARGEST}")
        [(name,)] = server.run("select name from onetape.fact limit 1")
        log.riders.add(("bucket", "x"), facts={str(name): FactChange(None, LARGEST, 1.0)})
    else:
        server.run(f"update onetape.bucket set folded = {LARGEST}")
        log.riders.add(("bucket", "acme:-"), [["spend", 0.0, 1, [60]]])
        log.riders.fold(("bucket", "acme:-"), Fold(LARGEST, 1, "{}"))
    store = SharedStore(log, tmp_path / "store", clock=ManualClock(NOW))
    store.commit(DAILY, bars(0, 3))
    assert shown(store) == [0, 1, 2] and not log.riders


# --- snapshots -----------------------------------------------------------------------------------

_FORGED: dict[str, tuple[Position | None, list[Part]]] = {
    "late year": (None, [Part(10**9, b"x" * 32, 0, {})]),
    "early year": (None, [Part(-(10**5), b"x" * 32, 0, {})]),
    "generation": (None, [Part(1999, b"x" * 32, 1 << 63, {})]),
    "size": (None, [Part(1999, b"x" * 32, 1, {"1999.csv.gz": 1 << 30})]),
    "far entry": (Position(1 << 62, b"12345678"), []),
    "later entry": (Position(1 << 29, b"12345678"), []),
    "content": (None, []),
}


@pytest.mark.parametrize("attack", _FORGED)
@pytest.mark.parametrize("pruned", [True, False])
def test_a_forged_snapshot_stops_no_other_series(
    log: Log, log_url: str, tmp_path: Path, attack: str, pruned: bool
) -> None:
    a = SharedStore(log, tmp_path / "a", clock=ManualClock(NOW))
    filled(a)
    other = SeriesKey("OTHER", DAILY.timeframe)
    a.commit(other, bars(0, 3))
    a.snapshot(DAILY)
    if pruned:
        a.snapshots.prune(-1)
    name = name_of(DAILY)
    found = a.snapshots.find({name: Position()})[name].snapshot
    assert found is not None
    place, parts = _FORGED[attack]
    position = place or found.position
    forged = snapshot.Snapshot(position, {**found.parts, **{part.year: part for part in parts}})
    content, digest = snapshot.dump(name, forged)
    if attack == "content":
        content = bytes(2 << 20)
    put(
        log_url,
        "update onetape.snapshot set seq = %s, token = %s, content = %s, digest = %s",
        *position,
        content,
        digest,
    )
    b = SharedStore(log, tmp_path / "b", clock=ManualClock(NOW))
    for _ in range(2):
        try:
            b.pull([PAIR, (other.symbol, other.timeframe)])
        except CorruptEntryError:
            assert pruned
        assert shown(b, other) == [0, 1, 2]
        assert shown(b) == ([] if pruned else shown(a))


# --- leases --------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "change",
    [
        "until = 'infinity', pid = null",
        "until = now() + interval '9 years', pid = null",
        "fence = 9223372036854775807, owner = null",
        "fence = -9223372036854775807, owner = null",
    ],
)
def test_a_hostile_lease_holds_up_nobody(log: Log, log_url: str, change: str) -> None:
    hosts = [SharedLeases(log, ManualClock(NOW), lambda: None, name) for name in "ab"]
    holder = Call(hosts[0])  # which would end if nothing referred to it
    rows(log_url, f"update onetape.lease set {change}")
    fences = set()
    for one in hosts * 2:
        call = Call(one, deadline=late())
        assert call.lease.is_held
        fences.add(call.turn().fence)
        call.end()
    assert len(fences) == 4 and min(fences) > 0
    holder.end()


# --- reports and pruning ---------------------------------------------------------------------------


def test_a_snapshot_without_entries_stops_no_pruning(
    log: Log, log_url: str, tmp_path: Path
) -> None:
    a = SharedStore(log, tmp_path / "a", clock=ManualClock(NOW))
    for symbol in ("A", "B"):
        for n in range(3):
            a.commit(SeriesKey(symbol, DAILY.timeframe), bars(n, n + 1))
        a.snapshot(SeriesKey(symbol, DAILY.timeframe))
    put(log_url, "delete from onetape.entry where series = (select min(series) from onetape.entry)")
    assert a.snapshots.prune(-1) == 2
    assert a.snapshots.prune(-1) == 0


@pytest.mark.parametrize("at_ms", [LARGEST, -LARGEST])
def test_times_outside_the_calendar_stop_no_report(
    log: Log, log_url: str, tmp_path: Path, at_ms: int
) -> None:
    a = SharedStore(log, tmp_path / "a", clock=ManualClock(NOW))
    a.commit(DAILY, bars(0, 3))
    a.snapshot(DAILY)
    put(log_url, f"update onetape.entry set at_ms = {at_ms}")
    put(log_url, f"update onetape.snapshot set at_ms = {at_ms}")
    put(
        log_url,
        "insert into onetape.bucket values (E'a\x1b]0;x\x07\n', '{\"spent\": [[60, 9e9, 9e9, 3]]}', '[]', 0)",
    )
    state = host_state(a)
    assert state.state == "in step"
    assert json.dumps(state.to_json()) and _shown(state)


# --- entries -------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("kind", "payload"),
    [
        ("commit", {"quality": {"x": [0] * (20 << 20)}}),
        ("commit", {"pieces": [0] * (20 << 20)}),
        ("cleared", {"by": "x", "years": [0] * (20 << 20)}),
    ],
    ids=["quality", "pieces", "years"],
)
def test_an_entry_of_many_objects_is_refused_before_it_is_decoded(kind: str, payload: Any) -> None:
    body = seal(name_of(DAILY), 1, kind, 0, msgspec.msgpack.encode(payload))
    del payload
    tracemalloc.start()
    try:
        with pytest.raises(CorruptEntryError, match=r"beside its bars|Expected"):
            load(name_of(DAILY), 1, kind, 0, body, 1)
        assert tracemalloc.get_traced_memory()[1] < 60 << 20
    finally:
        tracemalloc.stop()
