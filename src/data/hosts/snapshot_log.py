"""Snapshots in the shared server, and the pruning of entries that they cover.

Every act is one statement, as in the log: a host that stops in the middle of a snapshot leaves only
parts that the next snapshot uses or removes.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import Any, LiteralString, NamedTuple

from ..errors import CacheError
from . import snapshot
from .entry import LAST_MS, SeriesName
from .log import NOW, Log, LogPosition
from .snapshot import SeriesSnapshot, SnapshotPart

# Bytes of the parts that are fetched at once, series in one statement, and series pruned at once.
_BATCH_BYTES, _SERIES, _PRUNED = 8 << 20, 500, 50
# More tokens of pruned entries do not fit into a row.
_MOST_TOKENS = 1 << 27
_FIND = f"""
select w.n, p.seq, substring(p.token for 9), p.format,
  case when octet_length(p.content) <= {snapshot.MOST_BYTES} then p.content end, p.digest, p.pruned,
  w.seq = 0
    or case when w.seq <= {_MOST_TOKENS}
      then w.token = substring(p.tokens from (8 * (w.seq - 1) + 1)::int for 8) else false end
    or exists (select from onetape.entry e where e.series = s.id and e.seq = w.seq and e.token = w.token),
  exists (select from onetape.entry e where e.series = s.id and e.seq = p.seq and e.token = p.token)
from unnest(%s::text[], %s::text[], %s::text[], %s::bigint[], %s::bytea[])
  with ordinality as w(symbol, timeframe, lane, seq, token, n)
join onetape.series s on s.symbol = w.symbol and s.timeframe = w.timeframe and s.lane = w.lane
join onetape.snapshot p on p.series = s.id
order by w.n"""  # noqa: S608 - constants only
_PARTS = """
select w.n, case when octet_length(p.body) = w.size then p.body end
from unnest(%s::text[], %s::text[], %s::text[], %s::smallint[], %s::bytea[], %s::bigint[])
  with ordinality as w(symbol, timeframe, lane, year, digest, size, n)
join onetape.series s on s.symbol = w.symbol and s.timeframe = w.timeframe and s.lane = w.lane
join onetape.part p on p.series = s.id and p.year = w.year and p.digest = w.digest
order by w.n"""
_SERIES_ID = """
select id from onetape.series
where symbol = %(symbol)s and timeframe = %(timeframe)s and lane = %(lane)s"""
# Parts that a snapshot uses again get its number, so that no older one removes them meanwhile. They are
# checked, because entries will be pruned that only they replace.
_CLAIM = f"""
update onetape.part o set seq = greatest(o.seq, %(seq)s)
from unnest(%(digests)s::bytea[], %(places)s::bytea[]) as w(digest, place)
where o.series = ({_SERIES_ID}) and o.digest = w.digest and sha256(w.place || o.body) = o.digest
returning o.digest"""  # noqa: S608 - constants only
_ADD = f"""
insert into onetape.part (series, year, digest, seq, body)
select s.id, %(year)s, %(digest)s, %(seq)s, %(body)s from ({_SERIES_ID}) s
on conflict (series, year, digest) do update
  set seq = greatest(part.seq, excluded.seq), body = excluded.body"""  # noqa: S608 - constants only
# A snapshot is there only with its entry and all of its parts, and a later one is never replaced.
_PUT = f"""
insert into onetape.snapshot as p (series, seq, token, format, at_ms, bytes, content, digest, oldest_ms)
select s.id, %(seq)s, %(token)s, %(format)s, %(now)s, %(bytes)s, %(content)s, %(digest)s,
  (select e.at_ms from onetape.entry e where e.series = s.id order by e.seq limit 1)
from ({_SERIES_ID}) s
where exists (select from onetape.entry e where e.series = s.id and e.seq = %(seq)s and e.token = %(token)s)
  and (select count(*) from onetape.part o where o.series = s.id and o.digest = any(%(digests)s)) = %(count)s
on conflict (series) do update set seq = excluded.seq, token = excluded.token, format = excluded.format,
  at_ms = excluded.at_ms, bytes = excluded.bytes, content = excluded.content, digest = excluded.digest
  where p.seq < excluded.seq
returning p.seq"""  # noqa: S608 - constants only
_SWEEP = f"""
delete from onetape.part o using onetape.snapshot p
where p.series = ({_SERIES_ID}) and p.seq = %(seq)s and p.token = %(token)s
  and o.series = p.series and o.seq <= p.seq and o.digest <> all(%(digests)s)"""  # noqa: S608 - constants only
# The tokens of pruned entries are kept, eight bytes each: they show that a host which is far behind has
# the same history.
_PRUNE = f"""
with due as (
  select series, seq from onetape.snapshot
  where pruned < seq - 1 and oldest_ms < %(before)s order by oldest_ms limit {_PRUNED}
  for update skip locked),
kept as (
  select d.series, least(d.seq, (select min(e.seq) from onetape.entry e
    where e.series = d.series and e.at_ms >= %(before)s)) as first
  from due d),
gone as (
  delete from onetape.entry e using kept k where e.series = k.series and e.seq < k.first
  returning e.series, e.seq, e.token),
tokens as (
  select series, count(*) as n, string_agg(token, ''::bytea order by seq) as all_of from gone group by series)
update onetape.snapshot p set pruned = p.pruned + coalesce(t.n, 0),
  tokens = p.tokens || coalesce(t.all_of, ''::bytea),
  oldest_ms = coalesce(
    (select e.at_ms from onetape.entry e where e.series = p.series and e.seq = k.first), %(before)s)
from kept k left join tokens t on t.series = k.series
where p.series = k.series returning coalesce(t.n, 0)"""  # noqa: S608 - constants only
_YEARS = f"""
select distinct unnest(years) from onetape.entry where series = ({_SERIES_ID}) and seq > %(seq)s"""  # noqa: S608 - constants only
# Times are kept inside the calendar, and sums inside their type, whatever is in the rows.
_SIZE = f"""
select (select count(*) from onetape.entry), pg_total_relation_size('onetape.entry'),
  (select min(least(greatest(at_ms, 0), {LAST_MS})) from onetape.entry),
  (select least(coalesce(sum(pruned), 0), {LAST_MS})::bigint from onetape.snapshot),
  (select count(*) from onetape.snapshot),
  pg_total_relation_size('onetape.snapshot') + pg_total_relation_size('onetape.part'),
  (select max(least(greatest(at_ms, 0), {LAST_MS})) from onetape.snapshot)"""  # noqa: S608 - constants only


class LogSize(NamedTuple):
    """How large the log is.

    Attributes:
        entries, bytes: Entries, and the space on the server for them.
        oldest_ms: Time of the oldest kept entry, UTC milliseconds; None if there is none.
        pruned: Number of entries removed because a snapshot has what they made.
        snapshots, snapshot_bytes: Series with a snapshot, and the space on the server for them.
        snapshot_ms: Time of the last snapshot, UTC milliseconds; None if there is none.
    """

    entries: int = 0
    bytes: int = 0
    oldest_ms: int | None = None
    pruned: int = 0
    snapshots: int = 0
    snapshot_bytes: int = 0
    snapshot_ms: int | None = None


class FoundSnapshot(NamedTuple):
    """The snapshot of a series.

    Attributes:
        snapshot: Snapshot; None if it cannot be read.
        pruned: Number of entries that are gone.
        is_known: Whether the log has or had the position of the folder.
        error: Why the snapshot cannot be read.
    """

    snapshot: SeriesSnapshot | None
    pruned: int
    is_known: bool
    error: CacheError | None = None


class Snapshots:
    """Reads and writes snapshots, and prunes the log. Thread-safe.

    Args:
        log: The log.
    """

    def __init__(self, log: Log) -> None:
        self._log = log

    def find(self, seen: Mapping[SeriesName, LogPosition]) -> dict[SeriesName, FoundSnapshot]:
        """Return the snapshots of series; ``seen`` has for each the entry that the folder shows."""
        snapshots: dict[SeriesName, FoundSnapshot] = {}
        order = list(seen)
        for at in range(0, len(order), _SERIES):
            names = order[at : at + _SERIES]
            columns = [
                *map(list, zip(*names, strict=True)),
                [seen[name].seq for name in names],
                [seen[name].token for name in names],
            ]
            for n, seq, token, form, content, digest, pruned, is_known, is_there in self._log.rows(
                _FIND, columns
            ):
                name, position = names[n - 1], LogPosition(seq, bytes(token))
                try:
                    loaded = snapshot.load(name, position, form, content, bytes(digest))
                    if not is_there:
                        raise snapshot.corrupt(name, "the log does not have its entry")
                except CacheError as error:
                    snapshots[name] = FoundSnapshot(None, pruned, bool(is_known), error)
                else:
                    snapshots[name] = FoundSnapshot(loaded, pruned, bool(is_known))
        return snapshots

    def parts(
        self, wanted: Sequence[tuple[SeriesName, SnapshotPart]]
    ) -> Iterator[tuple[SeriesName, SnapshotPart, bytes | None]]:
        """Yield parts with their bodies, in order; None if another host has replaced the snapshot.

        A body of another size than the snapshot says is not fetched.
        """
        for batch in _batches(wanted):
            columns: list[list[Any]] = [*map(list, zip(*(name for name, _ in batch), strict=True))]
            columns += (
                [getattr(part, field) for _, part in batch] for field in ("year", "digest", "size")
            )
            bodies = {row[0]: row[1] for row in self._log.rows(_PARTS, columns)}
            for n, (name, part) in enumerate(batch, start=1):
                yield name, part, bodies.pop(n, None)

    def years_after(self, name: SeriesName, seq: int) -> set[int]:
        """Return the years that entries after ``seq`` change."""
        return {row[0] for row in self._log.rows(_YEARS, name._asdict() | {"seq": seq})}

    def claim(self, name: SeriesName, seq: int, parts: Sequence[SnapshotPart]) -> set[bytes]:
        """Return the digests of the parts that are there and whole; keep them for a snapshot at ``seq``."""
        prefixes = [snapshot.prefix_of(name, part.year, part.files) for part in parts]
        arguments = name._asdict() | {"seq": seq, "places": prefixes}
        arguments |= {"digests": [part.digest for part in parts]}
        return {bytes(row[0]) for row in self._log.rows(_CLAIM, arguments)}

    def add(self, name: SeriesName, seq: int, part: SnapshotPart, body: bytes) -> None:
        """Store a part for the snapshot at ``seq``."""
        arguments = name._asdict() | {"seq": seq, "body": body}
        self._log.rows(_ADD, arguments | {"year": part.year, "digest": part.digest})

    def put(self, name: SeriesName, made: SeriesSnapshot) -> bool:
        """Store a snapshot whose parts are there, and remove parts that it does not use.

        Return whether it was stored: not if the log has lost its entry, or if there is a later one.
        """
        content, digest = snapshot.dump(name, made)
        digests = [part.digest for part in made.parts.values()]
        arguments = name._asdict() | made.position._asdict()
        arguments |= {"digests": digests, "content": content, "digest": digest}
        arguments |= {"count": len(digests), "bytes": made.size, "format": snapshot.FORMAT}
        if not self._log.rows(_PUT.replace("%(now)s", self._now_sql), arguments):
            return False
        self._log.rows(_SWEEP, arguments)
        return True

    def prune(self, keep_ms: int) -> int:
        """Remove entries older than ``keep_ms`` that a snapshot covers; return how many.

        The entry of a snapshot and later ones always stay. Only some series are pruned at once.
        """
        statement = _PRUNE.replace("%(before)s", f"({self._now_sql} - {int(keep_ms)})")
        return sum(row[0] for row in self._log.rows(statement))

    def size(self) -> LogSize:
        """Return how large the log is."""
        [row] = self._log.rows(_SIZE)
        return LogSize(*(value if n in (2, 6) else value or 0 for n, value in enumerate(row)))

    @property
    def _now_sql(self) -> LiteralString | str:
        return NOW if self._log.now_ms is None else str(int(self._log.now_ms()))


def _batches(
    wanted: Sequence[tuple[SeriesName, SnapshotPart]],
) -> Iterator[list[tuple[SeriesName, SnapshotPart]]]:
    batch: list[tuple[SeriesName, SnapshotPart]] = []
    size = 0
    for pair in wanted:
        if batch and size + pair[1].size > _BATCH_BYTES:
            yield batch
            batch, size = [], 0
        batch.append(pair)
        size += pair[1].size
    if batch:
        yield batch
