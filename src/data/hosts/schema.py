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
MIGRATIONS = (_TABLES, _SNAPSHOTS, _LIMITS)
