"""Rows written by another program or a compromised host: typed errors, and nothing is blocked."""

from __future__ import annotations

import json
import sqlite3
import sys
import tracemalloc
import zlib
from collections.abc import Callable, Iterator, Sequence
from contextlib import closing, suppress
from hashlib import sha256
from pathlib import Path
from typing import Any

import msgspec
import psycopg
import pytest

from src.data.cache.format import json_document
from src.data.cli.hosts import _state_shown
from src.data.clock import ManualClock
from src.data.errors import (
    CircuitOpenError,
    CorruptEntryError,
    RateLimitedError,
    StorageError,
    SymbolNotFoundError,
    UnavailableError,
)
from src.data.hosts import snapshot
from src.data.hosts.decisions import name_of
from src.data.hosts.entry import load, seal
from src.data.hosts.leases import SharedLeases
from src.data.hosts.limits import shared_limits
from src.data.hosts.log import Log, LogPosition
from src.data.hosts.riders import FactChange, LedgerBase
from src.data.hosts.schema import MIGRATIONS
from src.data.hosts.snapshot import SnapshotPart
from src.data.hosts.state import host_state, verify
from src.data.hosts.store import SharedStore
from src.data.hosts.vendor_records import MOST_OPERATIONS, fact
from src.data.model.series import SeriesKey
from src.data.net.state import FILE
from src.data.net.state_tables import check_numbers
from tests.cache.bars import DAILY, NOW
from tests.cache.counts import FULL, crossed
from tests.hosts.own_server import OwnServer
from tests.processes import ended, fork
from tests.programs import ROOT

from .test_leases import Call, late
from .test_limits import CHECK, DOOR, Hosts, Server, ask
from .test_snapshots import PAIR, bars, filled, rows, shown

LARGEST = (1 << 63) - 1


@pytest.fixture
def server(log_url: str) -> Iterator[Server]:
    """Yield a server whose clock is at 2023-11-14 22:13:20 UTC and moves only by the test."""
    made = Server(log_url)
    yield made
    made.close()


@pytest.fixture
def host(server: Server, tmp_path: Path) -> Iterator[Hosts]:
    """Yield hosts on ``server``, made by name; each has its own clock, near 2025-01-01 UTC."""
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
    "many": "[" + ",".join(['[1700000000, [["spend", 0, 1, [60]]]]'] * (MOST_OPERATIONS + 1)) + "]",
    "large": '["' + "x" * (5 << 20) + '"]',
}


_LEDGERS = [(name, column) for name in _OPS for column in ("base", "log")]


# In `make test` the columns take turns.
@pytest.mark.parametrize("name, column", _LEDGERS if FULL else _LEDGERS[::4] + _LEDGERS[3::4])
def test_a_hostile_ledger_is_replaced_with_half_of_the_limit_used(
    host: Hosts, server: Server, name: str, column: str
) -> None:
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
    "long circuit": '[9, 9, 3e9, 3e9, 0, "down", ""]',
    "absurd circuit": '[9, 9, 1e30, 1e30, 1e30, "down", ""]',
    "long symbol": "[3e9, 3e9, 1]",
    "huge": f"[1{'0' * 400}, 1]",
    "digits": f"[1{'0' * 5000}, 1]",
    "deep": "[" * 3000 + "]" * 3000,
    "no reason": '[1, 1, 1, 1, 1, ["r"]]',
}


_KINDS_OF_FACTS = [(kind, name) for name in _FACTS for kind in ("pause", "circuit", "unknown")]


# In `make test` the kinds take turns.
@pytest.mark.parametrize("kind, name", _KINDS_OF_FACTS if FULL else _KINDS_OF_FACTS[::4])
def test_a_hostile_fact_blocks_no_vendor_permanently(
    host: Hosts, server: Server, kind: str, name: str
) -> None:
    a, b = host("a", per_minute=50), host("b", per_minute=50)
    with suppress(SymbolNotFoundError), a.guard(DOOR, CHECK):
        a.pause(1)
        raise SymbolNotFoundError("no such symbol")
    reported = {f"circuit acme:- {DOOR}": FactChange([0, 0, 0, 0, 0, "", ""], 0, 1e6)}
    host.logs["a"].send_pending(reported)
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


@pytest.mark.parametrize(
    "kind, value, days", [("pause", "[{}, 1]", 7), ("unknown", "[0, {}, 1]", 0.25)]
)
def test_a_fact_is_used_only_if_its_end_is_one_that_a_host_can_have_set(
    kind: str, value: str, days: float
) -> None:
    now_s = 1_700_000_000
    for added_s, is_used in (-60, True), (7200, False):
        text = value.format(now_s + days * 86_400 + added_s)
        assert (fact(kind, text, now_s) is not None) is is_used


@pytest.mark.parametrize(
    "kind, value", [("pause", f"[9, {10**15}]"), ("circuit", f'[{10**15}, 1, 9, 0, 0, "down", ""]')]
)
def test_a_huge_count_does_not_spoil_the_state_of_a_host(
    host: Hosts, server: Server, tmp_path: Path, kind: str, value: str
) -> None:
    a, b = host("a", per_minute=50), host("b", per_minute=50)
    with suppress(UnavailableError), a.guard(DOOR):
        a.pause(1)
        raise UnavailableError("HTTP 503")
    of = "where split_part(name, ' ', 1) = %s"
    put(server.url, f"update onetape.fact set value = %s::jsonb {of}", value, kind)
    server.advance(2)
    with b.guard(DOOR):
        b.acquire(1, 0)
        with closing(sqlite3.connect(tmp_path / "b" / FILE)) as state:
            check_numbers(state)  # as the next process does, which would make it anew


@pytest.mark.parametrize("what", ["version", "folded"])
def test_hostile_facts_and_limits_keep_no_bars_from_being_stored(
    host: Hosts, server: Server, what: str, tmp_path: Path
) -> None:
    a = host("a", per_minute=50)
    log = host.logs["a"]
    with a.guard(DOOR):
        ask(a)
    if what == "version":
        server.run(f"update onetape.fact set version = {LARGEST}")
        [(name,)] = server.run("select name from onetape.fact limit 1")
        log.pending.add(("bucket", "x"), facts={str(name): FactChange(None, LARGEST, 1.0)})
    else:
        server.run(f"update onetape.bucket set folded = {LARGEST}")
        log.pending.add(("bucket", "acme:-"), [["spend", 0.0, 1, [60]]])
        log.pending.replace_base(("bucket", "acme:-"), LedgerBase(LARGEST, 1, "{}"))
    store = SharedStore(log, tmp_path / "store", clock=ManualClock(NOW))
    store.commit(DAILY, bars(0, 3))
    assert shown(store) == [0, 1, 2] and not log.pending


# --- snapshots -----------------------------------------------------------------------------------

_FORGED: dict[str, tuple[LogPosition | None, list[SnapshotPart]]] = {
    "late year": (None, [SnapshotPart(10**9, b"x" * 32, 0, {})]),
    "early year": (None, [SnapshotPart(-(10**5), b"x" * 32, 0, {})]),
    "generation": (None, [SnapshotPart(1999, b"x" * 32, 1 << 63, {})]),
    "size": (None, [SnapshotPart(1999, b"x" * 32, 1, {"1999.csv.gz": 1 << 30})]),
    "far entry": (LogPosition(1 << 62, b"12345678"), []),
    "later entry": (LogPosition(1 << 29, b"12345678"), []),
    "content": (None, []),
}


@pytest.mark.parametrize("attack, pruned", crossed(_FORGED, [True, False]))
def test_a_forged_snapshot_stops_no_other_series(
    log: Log, log_url: str, tmp_path: Path, attack: str, pruned: bool
) -> None:
    a = SharedStore(log, tmp_path / "a", clock=ManualClock(NOW))
    filled(a, 5)
    other = SeriesKey("OTHER", DAILY.timeframe)
    a.commit(other, bars(0, 3))
    a.snapshot(DAILY)
    if pruned:
        a.snapshots.prune(-1)
    name = name_of(DAILY)
    found = a.snapshots.find({name: LogPosition()})[name].snapshot
    assert found is not None
    place, parts = _FORGED[attack]
    position = place or found.position
    forged = snapshot.SeriesSnapshot(
        position, {**found.parts, **{part.year: part for part in parts}}
    )
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


def _declares_less(folder: Path, year: int) -> tuple[SnapshotPart, bytes]:
    """Return a part whose body is far larger than declared."""
    body, files = bytes(8 << 20), {f"{year}.csv.gz": 0}
    digest = sha256(snapshot.prefix_of(name_of(DAILY), year, files) + body).digest()
    return SnapshotPart(year, digest, 1, files), body


def _large_document(folder: Path, year: int) -> tuple[SnapshotPart, bytes]:
    """Return a part whose document takes many times its size in memory."""
    document = b"[" * (40 << 20)
    return snapshot.sealed(name_of(DAILY), year, 1, [(f"{year}.metadata.json", document)])


def _bomb(folder: Path, year: int) -> tuple[SnapshotPart, bytes]:
    """Return a part whose bars become 160 MiB."""
    deflater = zlib.compressobj(1, zlib.DEFLATED, 31)
    data = b"".join(deflater.compress(bytes(1 << 24)) for _ in range(10)) + deflater.flush()
    plain = json_document.load((folder / "2024.metadata.json").read_bytes())
    size = f'"size":{plain["onetape"]["size"]}'
    text = json.dumps(plain, separators=(",", ":")).replace(size, f'"size":{len(data)}')
    files = [("2024.csv.gz", data), ("2024.metadata.json", json_document.dump(json.loads(text)))]
    generation = plain["onetape"]["generation"]
    return snapshot.sealed(name_of(DAILY), 2024, generation, files)


_ATTACKS: list[tuple[Callable[[Path, int], tuple[SnapshotPart, bytes]], Sequence[int]]] = [
    (_declares_less, range(1901, 1909)),
    (_large_document, [1901]),
    (_bomb, [2024]),
]


@pytest.mark.skipif(sys.platform != "linux", reason="reads the memory of a process from /proc")
@pytest.mark.parametrize("forge, years", _ATTACKS, ids=["less", "document", "bomb"])
def test_a_forged_snapshot_takes_little_memory(
    log: Log,
    log_url: str,
    tmp_path: Path,
    forge: Callable[[Path, int], tuple[SnapshotPart, bytes]],
    years: Sequence[int],
) -> None:
    """Its digests are right, as an attacker with write access to the tables would make them."""
    a = SharedStore(log, tmp_path / "a", clock=ManualClock(NOW))
    filled(a, 5)
    a.snapshot(DAILY)
    a.snapshots.prune(-1)
    name, folder = name_of(DAILY), a.parts.lane(DAILY).paths.folder
    found = a.snapshots.find({name: LogPosition()})[name].snapshot
    assert found is not None
    parts = dict(found.parts)
    for year in years:
        parts[year], body = forge(folder, year)
        a.snapshots.add(name, found.position.seq, parts[year], body)
    content, digest = snapshot.dump(name, found._replace(parts=parts))
    put(log_url, "update onetape.snapshot set content = %s, digest = %s", content, digest)
    log.close()

    def work() -> None:
        store = SharedStore(Log(log_url), tmp_path / "b", clock=ManualClock(NOW))
        store.shared.store_id()
        Path("/proc/self/clear_refs").write_text("5")
        before = _most_memory()
        if forge is _bomb:  # found when the year is read, which sets it aside
            store.pull([PAIR])
            assert 0 < len(shown(store)) < len(shown(a))
        else:
            with pytest.raises(CorruptEntryError, match="snapshot of AAPL 1d"):
                store.pull([PAIR])
            assert shown(store) == [] and store.position(DAILY) == 0
        assert _most_memory() - before < 100 << 20

    assert ended(fork(work)) == 0


def _most_memory() -> int:
    """Return the largest memory of this process since it was last reset, in bytes."""
    lines = Path("/proc/self/status").read_text().splitlines()
    return next(int(line.split()[1]) << 10 for line in lines if line.startswith("VmHWM"))


# --- leases --------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "change",
    [
        "until = 'infinity', pid = null",
        "until = now() + interval '9 years', pid = null",
        "fence = 9223372036854775807, owner = null",
        "fence = -9223372036854775807, owner = null",
        "until = clock_timestamp() + interval '11 minutes'",  # the server's clock was set back
    ],
)
def test_a_hostile_lease_delays_no_host(log: Log, log_url: str, change: str) -> None:
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


def test_a_snapshot_without_entries_does_not_prevent_pruning(
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
def test_times_outside_the_calendar_do_not_prevent_a_report(
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
    assert json.dumps(state.to_json()) and _state_shown(state)


# --- entries -------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "kind, name", [("commit", "quality"), ("commit", "pieces"), ("cleared", "years")]
)
def test_an_entry_of_many_objects_is_refused_before_it_is_decoded(kind: str, name: str) -> None:
    many = [0] * (12 << 20)
    payload: dict[str, Any] = {"by": "x"} if kind == "cleared" else {}
    payload |= {name: {"x": many} if name == "quality" else many}
    body = seal(name_of(DAILY), 1, kind, 0, msgspec.msgpack.encode(payload))
    del payload, many
    tracemalloc.start()
    try:
        with pytest.raises(CorruptEntryError, match=r"beside its bars|Expected"):
            load(name_of(DAILY), 1, kind, 0, body, 1)
        assert tracemalloc.get_traced_memory()[1] < 60 << 20
    finally:
        tracemalloc.stop()


# --- schema and heads ----------------------------------------------------------------------------

_OBJECTS = {
    "view": "create view onetape.store as select 1 as id, 2 as format",
    "columns": "create table onetape.store (id text, format text);"
    " insert into onetape.store values ('x', 'y')",
    "empty": "create table onetape.store (id uuid, format int)",
    "null": "create table onetape.store (id uuid, format int); insert into onetape.store values (null, 3)",
    "name": "create table onetape.store (name text)",
    "alone": f"create table onetape.store (id uuid, format int);"
    f" insert into onetape.store values (gen_random_uuid(), {len(MIGRATIONS)})",
}


@pytest.mark.parametrize("what", _OBJECTS if FULL else ("columns", "alone"))
def test_a_schema_of_another_program_is_refused_with_a_clear_error(
    log_url: str, what: str, tmp_path: Path
) -> None:
    with psycopg.connect(log_url, autocommit=True) as db:
        db.execute(f"create schema onetape; {_OBJECTS[what]}")  # type: ignore[call-overload]
    with closing(Log(log_url)) as log:
        store = SharedStore(log, tmp_path / "a", clock=ManualClock(NOW))
        for act in (lambda: store.commit(DAILY, bars(0, 3)), lambda: store.pull([PAIR])):
            with pytest.raises(
                StorageError, match="other tables than those of a shared store"
            ) as caught:
                act()
            assert caught.value.hint and "name another database" in caught.value.hint
        assert host_state(store).state == "not attached"


def test_the_error_for_a_database_user_names_the_missing_rights(
    own: OwnServer, log_url: str
) -> None:
    with psycopg.connect(log_url, autocommit=True) as db:
        db.execute("drop role if exists visitor")
        db.execute("create role visitor login")
    with closing(Log(log_url.replace("onetape@", "visitor@"))) as log:
        with pytest.raises(StorageError, match="permission denied for database") as caught:
            log.store_id()
        assert caught.value.hint and "own the schema onetape" in caught.value.hint


def test_a_forged_head_is_reported_with_a_working_repair(log_url: str, tmp_path: Path) -> None:
    page = (ROOT / "docs" / "many-hosts.md").read_text()
    [repair] = [block for block in page.split("```sql\n")[1:] if "update onetape.series" in block]
    with closing(Log(log_url)) as log:
        a, b = (SharedStore(log, tmp_path / name, clock=ManualClock(NOW)) for name in "ab")
        a.commit(DAILY, bars(0, 3))
        a.commit(DAILY, bars(3, 5))
        b.pull([PAIR])
        known = [0, 1, 2, 3, 4]
        for at, forged in enumerate(("seq + 7, head", "seq, '12345678'", "1, head"), start=7):
            put(log_url, f"update onetape.series set (seq, head) = ({forged})")
            for store in (a, b):
                with pytest.raises(
                    CorruptEntryError, match=r"names entry \d+ as the latest"
                ) as caught:
                    store.pull([PAIR])
                assert caught.value.hint and "docs/many-hosts.md" in caught.value.hint
                with pytest.raises(CorruptEntryError):
                    store.commit(DAILY, bars(at, at + 1))
                assert shown(store) == known, "stored bars are served"
            put(log_url, repair.partition("```")[0])
            b.commit(DAILY, bars(at, at + 1))
            a.pull([PAIR])
            known.append(at)
            assert shown(a) == shown(b) == known


@pytest.mark.parametrize("version", [-7, LARGEST] if FULL else [LARGEST])
def test_a_fact_with_an_impossible_version_is_replaced(
    host: Hosts, server: Server, version: int
) -> None:
    a, b = host("a"), host("b")
    with suppress(UnavailableError), a.guard(DOOR):
        raise UnavailableError("HTTP 503")
    host.logs["a"].send_pending(
        {"circuit acme:other": FactChange([0, 0, 0, 0, 0, "", ""], 0, 60.0)}
    )
    server.run(f"update onetape.fact set version = {version}")
    for _ in range(8):
        with suppress(UnavailableError, CircuitOpenError), a.guard(DOOR):
            raise UnavailableError("HTTP 503")
    with pytest.raises(CircuitOpenError), b.guard(DOOR):
        pass


def test_a_deep_check_lists_all_series_that_cannot_be_read(log_url: str, tmp_path: Path) -> None:
    with closing(Log(log_url)) as log:
        store = SharedStore(log, tmp_path / "a", clock=ManualClock(NOW))
        keys = [SeriesKey(symbol, DAILY.timeframe) for symbol in ("A", "B", "C", "D")]
        for key in keys:
            store.commit(key, bars(0, 3))
            store.commit(key, bars(3, 6))
        of = "series = (select id from onetape.series where symbol = %s)"
        put(log_url, f"update onetape.entry set body = ''::bytea where seq = 1 and {of}", "A")
        put(log_url, f"update onetape.entry set format = 99 where seq = 2 and {of}", "C")
        path = store.parts.lane(keys[3]).paths.data(2024)
        path.write_bytes(path.read_bytes() + b"x")
        found = {one.series.symbol: one for one in verify(store, deep=True)}
        assert {symbol: one.state for symbol, one in found.items()} == {
            "A": "corrupt", "C": "corrupt", "D": "astray"
        }  # fmt: skip
        assert "entry 1 of A 1d" in found["A"].reason
        assert "update this library" in found["C"].reason
