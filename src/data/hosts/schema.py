"""The tables of the log, as numbered migrations; a migration is never changed after a release."""

from __future__ import annotations

# The series with an empty timeframe holds a symbol's splits, dividends and names.
_TABLES = """
create schema if not exists onetape;
create table onetape.store (
  id uuid primary key, format int not null, made timestamptz not null default clock_timestamp());
create table onetape.series (
  id bigint generated always as identity primary key,
  symbol text not null, timeframe text not null default '', lane text not null default '',
  seq bigint not null default 0, head bytea not null default '',
  xid xid8 not null default pg_current_xact_id(),
  unique (symbol, timeframe, lane));
create index series_xid on onetape.series (xid);
create table onetape.entry (
  series bigint not null references onetape.series, seq bigint not null, token bytea not null,
  format smallint not null, kind text not null, book bigint not null, at_ms bigint not null,
  years smallint[] not null, first bigint, last bigint, rows int not null,
  by text not null, host text not null, body bytea not null,
  primary key (series, seq));
alter table onetape.entry alter column body set storage external;
create table onetape.lease (
  name text primary key, owner text, fence bigint not null, until timestamptz not null,
  pages int not null default 0);
"""
# What entries up to one of them have made, so that older ones are not needed.
_SNAPSHOTS = """
create table onetape.snapshot (
  series bigint primary key references onetape.series, seq bigint not null, token bytea not null,
  format smallint not null, at_ms bigint not null, bytes bigint not null, content bytea not null,
  digest bytea not null, pruned bigint not null default 0, tokens bytea not null default '',
  oldest_ms bigint not null);
alter table onetape.snapshot alter column tokens set storage external;
create index snapshot_oldest on onetape.snapshot (oldest_ms);
create table onetape.part (
  series bigint not null references onetape.series, year smallint not null, digest bytea not null,
  seq bigint not null, body bytea not null, primary key (series, year, digest));
alter table onetape.part alter column body set storage external;
"""
# The process of a lease's holder, and the units that all hosts have spent at vendors.
# A ledger is an account's spent units: those up to an entry of its log, and the log behind it. Those of an
# account with a daily or monthly limit survive a crash of the server, the others do not.
_LIMITS = """
alter table onetape.lease add column pid int, add column started timestamptz;
create unlogged table onetape.bucket (
  name text primary key, base jsonb not null, log jsonb not null, folded bigint not null,
  lost float8);
create table onetape.quota (like onetape.bucket including all);
create table onetape.fact (
  name text primary key, value jsonb not null, version bigint not null, expires timestamptz);
create index fact_expires on onetape.fact (expires);
"""
# A function that adds an entry, because the server keeps the plans of a function, but not of a statement.
# An append moves the head of its series. Under a lease, that needs the fence of the lease, which is locked,
# so that nobody takes the lease over meanwhile; if an owner is given, the entry also frees the lease.
_APPEND = """
create function onetape.append(
  _symbol text, _timeframe text, _lane text, _seen bigint, _head bytea, _token bytea, _format int,
  _kind text, _book bigint, _at_ms bigint, _years smallint[], _first bigint, _last bigint, _rows int,
  _by text, _host text, _body bytea, _lease text, _fence bigint, _owner text,
  out added bigint, out added_ms bigint, out is_held boolean)
language plpgsql as $$
declare _id bigint;
begin
  is_held := true;
  if _lease is not null then
    perform from onetape.lease where name = _lease and fence = _fence for share;
    is_held := found;
  end if;
  if not is_held then
    return;
  elsif _seen = 0 then
    insert into onetape.series as s (symbol, timeframe, lane, seq, head)
    values (_symbol, _timeframe, _lane, 1, _token)
    on conflict (symbol, timeframe, lane) do update
      set seq = 1, head = _token, xid = pg_current_xact_id() where s.seq = 0 and s.head = _head
    returning s.id, s.seq into _id, added;
  else
    update onetape.series set seq = seq + 1, head = _token, xid = pg_current_xact_id()
    where symbol = _symbol and timeframe = _timeframe and lane = _lane and seq = _seen and head = _head
    returning id, seq into _id, added;
  end if;
  if added is null then
    return;
  end if;
  added_ms := coalesce(_at_ms, (extract(epoch from clock_timestamp()) * 1000)::bigint);
  insert into onetape.entry
    (series, seq, token, format, kind, book, at_ms, years, first, last, rows, by, host, body)
  values (_id, added, _token, _format, _kind, _book, added_ms, _years, _first, _last, _rows, _by,
    _host, _body);
  if _owner is not null then
    update onetape.lease set owner = null where name = _lease and owner = _owner;
  end if;
end $$;
"""
MIGRATIONS = (_TABLES, _SNAPSHOTS, _LIMITS, _APPEND)
