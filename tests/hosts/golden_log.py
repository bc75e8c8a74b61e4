"""Generator of the golden log: ``python -m tests.hosts.golden_log URL FOLDER`` makes a copy of it.

With ``snapshots`` as a third word, it makes the golden snapshots: those of a host that has applied half of
the log's entries, with the entries left after the covered ones are pruned. Neither is ever regenerated in
place: entries written by a later version prove nothing about older ones.
"""

from __future__ import annotations

import json
import sys
from collections.abc import Iterator
from dataclasses import replace
from datetime import date
from itertools import count
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import numpy as np
import psycopg

from src.data.cache.faults import Fault
from src.data.cache.values import Commit
from src.data.clock import ManualClock
from src.data.hosts.decisions import key_of
from src.data.hosts.log import Log
from src.data.hosts.store import SharedStore
from src.data.model.actions import Action
from src.data.model.bars import BadRow, Bar
from src.data.model.coverage import Splice
from src.data.model.instant import year_start
from src.data.model.kind import Basis
from src.data.model.lifetime import Bound, Lifetime
from src.data.model.series import SeriesKey
from src.data.model.span import Span
from src.data.model.symbol_changes import SymbolChange
from tests.cache.bars import BASIS, DAILY, KIND, MINUTES, NOW, at, days, mark, minutes, piece, table

GOLDEN = Path(__file__).parents[1] / "golden" / "log-1"
RAW = SeriesKey("AAPL", DAILY.timeframe, ("raw", "yahoo"))
ENCODED = SeriesKey("BRK/B", DAILY.timeframe)
COLUMNS = ("kind", "book", "at_ms", "format", "token", "body")
_DUMP = """
select s.symbol, s.timeframe, s.lane, e.seq, e.kind, e.book, e.at_ms, e.format, encode(e.token, 'hex'),
  encode(e.body, 'base64')
from onetape.entry e join onetape.series s on s.id = e.series order by s.id, e.seq"""
_PUT_SERIES = """
insert into onetape.series (symbol, timeframe, lane, seq, head) values (%s, %s, %s, %s, decode(%s, 'hex'))
on conflict (symbol, timeframe, lane) do update set seq = excluded.seq, head = excluded.head"""
_PUT = """
insert into onetape.entry (series, seq, kind, book, at_ms, format, token, years, rows, by, host, body)
select id, %s, %s, %s, %s, %s, decode(%s, 'hex'), '{}', 0, '', '', decode(%s, 'base64')
from onetape.series where symbol = %s and timeframe = %s and lane = %s"""


def fill(store: SharedStore) -> None:
    """Commit something of every kind."""
    split = Action(date(2024, 2, 1), "split", at(31), 4.0, 1.0, source="acme", fetched_at=at(40))
    paid = Action(date(2024, 3, 1), "dividend", at(60), amount=0.25, source="acme", as_paid=True,
                  pay_date="2024-03-15", currency="USD", parts=(0.2, 0.05))  # fmt: skip
    store.commit(DAILY, Commit((piece(0, 20, adj=True),), kind=KIND, next_due=at(21)))
    store.commit(DAILY, Commit((piece(20, 25, state="provisional"),), next_due=at(26)))
    store.add_actions("AAPL", [split], Span(at(0), at(45)), "acme", at(40))
    store.add_actions("AAPL", [paid], Span(at(45), at(75)), "other", at(70), at(70))
    store.commit(
        DAILY,
        Commit((piece(24, 40, [*range(24, 30), *range(32, 40)], holes=(days(30, 32),)),)),
    )
    store.commit(DAILY, Commit((piece(10, 12, shift=1.5),), compared_at=at(41)))  # a revision
    store.commit(DAILY, Commit(marks=(
        mark(40, 45, "empty", reason="no_bar", expires=at(400)), mark(2, 4, "suspect", reason="grave: x100"),
    )))  # fmt: skip
    row = Bar(at(33), 1.0, 0.5, 2.0, 1.0, 7.0)
    store.commit(DAILY, Commit(
        (piece(31, 34, vendor="other", basis=Basis("split", date(2024, 2, 5)),
               splices=(Splice(at(31), "acme", "equal", 1.0, 9),)),),
        suspects=(BadRow(row, "high_below_low"),), judged=days(31, 34),
        faults=(Fault(days(33, 34), "bad", 1, "high_below_low"),), quality={"score": 0.75},
    ))  # fmt: skip
    wild = table(range(5)).take(np.arange(5))
    wild.close[:] = [5e-324, 1.7976931348623157e308, -0.0, np.nan, 0.1 + 0.2]
    wild.volume[:] = np.nan
    store.commit(RAW, Commit((replace(piece(0, 5), table=wild),)))
    born = Bound(at(0), "acme", at(9), at(900), "field")
    store.commit(ENCODED, Commit((piece(0, 800, basis=BASIS),), lifetime=Lifetime(born)))
    store.clear_years(ENCODED, [2025], by="golden")
    store.commit(ENCODED, Commit((piece(400, 402),)))
    for n in range(4):
        store.commit(MINUTES, Commit((minutes(500 * n, 500 * n + 500),)))
    renamed = SymbolChange(date(2024, 5, 1), "rename", "AAPL", "APPL", "golden", "", at(120))
    store.record_changes("AAPL", [renamed])
    store.commit(MINUTES, Commit((minutes(100, 120, shift=2.0),)))
    # The date of their basis is left out, because no split before it is known yet.
    same = SeriesKey("GOOG", DAILY.timeframe)
    store.add_actions("GOOG", [], Span(at(0), at(60)), "acme", at(60))
    store.commit(same, Commit((piece(27, 33, basis=Basis("split", date(2024, 2, 5))),)))
    store.add_actions("GOOG", [split], Span(at(0), at(60)), "acme", at(60))
    store.clear("MSFT")
    gone = SeriesKey("MSFT", DAILY.timeframe)
    store.commit(gone, Commit((piece(0, 3),)))
    store.clear("MSFT", by="golden")
    store.commit(gone, Commit((piece(7, 9),)))


def dump(url: str) -> list[dict[str, object]]:
    """Return all entries of a log, as JSON-compatible values."""
    names = ("symbol", "timeframe", "lane", "seq", *COLUMNS)
    with psycopg.connect(url) as db:
        return [dict(zip(names, row, strict=True)) for row in db.execute(_DUMP)]


def put(url: str, entries: list[dict[str, object]]) -> None:
    """Put entries into an empty log."""
    with psycopg.connect(url, autocommit=True) as db:
        for one in entries:
            place = one["symbol"], one["timeframe"], one["lane"]
            db.execute(_PUT_SERIES, (*place, one["seq"], one["token"]))
            db.execute(_PUT, (one["seq"], *(one[name] for name in COLUMNS), *place))


def put_snapshots(url: str, rows: list[dict[str, Any]]) -> None:
    """Put the rows of the golden snapshots into the tables of an empty log."""
    with psycopg.connect(url, autocommit=True) as db:
        for one in rows:
            table = f"onetape.{one['table']}"
            values = f"select * from json_populate_record(null::{table}, %s)"
            statement = f"insert into {table} overriding system value {values}"
            db.execute(statement, (json.dumps(one["row"]),))  # type: ignore[call-overload]


def snapshots(url: str) -> Iterator[dict[str, Any]]:
    """Yield the rows of a log of which half was applied by a host that made snapshots, and then pruned."""
    lines = (GOLDEN / "entries.jsonl").read_text().splitlines()
    log, entries = Log(url), [json.loads(line) for line in lines]
    log.store_id()
    last = {(e["symbol"], e["timeframe"], e["lane"]): e["seq"] for e in entries}
    put(url, [
        e for e in entries
        if not e["timeframe"] or e["seq"] <= (last[e["symbol"], e["timeframe"], e["lane"]] + 1) // 2
    ])  # fmt: skip
    with TemporaryDirectory() as folder:
        store = SharedStore(log, Path(folder), clock=ManualClock(NOW), keep=None)
        keys = [key for name in log.all_heads() if (key := key_of(name)) is not None]
        store.pull([(key.symbol, key.timeframe) for key in keys])
        assert all(store.snapshot(key) for key in keys)
        with psycopg.connect(url, autocommit=True) as db:
            db.execute("delete from onetape.entry")
        put(url, entries)
        store.snapshots.prune(-(10**15))
    with psycopg.connect(url) as db:
        for table in ("series", "snapshot", "part", "entry"):
            statement = f"select row_to_json(t) from onetape.{table} t order by 1::text"
            for [row] in db.execute(statement):  # type: ignore[call-overload]
                yield {"table": table, "row": row}


def main(url: str, folder: str, what: str = "") -> None:
    """Fill a log and a host, and write both."""
    if what:
        rows = (json.dumps(row, sort_keys=True) + "\n" for row in snapshots(url))
        Path(folder, "rows.jsonl").write_text("".join(rows))
        return
    times = count(year_start(2025), 1000)
    log = Log(url, now_ms=lambda: next(times))
    fill(SharedStore(log, Path(folder, "expected"), clock=ManualClock(NOW)))
    lines = (json.dumps(one, sort_keys=True) + "\n" for one in dump(url))
    Path(folder, "entries.jsonl").write_text("".join(lines))


if __name__ == "__main__":
    main(*sys.argv[1:])
