"""The tables and functions of the shared store in PostgreSQL.

Every request is one call of a function, which sets its own limit for waiting for locks. None depends
on the database session, so a connection pooler in transaction mode may be in between.
"""

from __future__ import annotations

FORMAT = 11
# The longest time to wait for a lock; a host then continues as if the server were away.
LOCK_WAIT = "3s"
# Most bytes of a file, and of all the files of a series that one request may return.
MOST_FILE, MOST_SERIES = 256 << 20, 2 << 30
_FOLD_AT, _PAST = 400, 4096
_GUARD = f"set lock_timeout = '{LOCK_WAIT}'"

# `past` has the tokens of earlier states, so that a host with a state of a lost history is noticed.
# Bytes of files are kept uncompressed, because they are compressed already.
_TABLES = """
create schema if not exists onetape;
create table onetape.store (
  id uuid primary key, format int not null, made timestamptz not null default clock_timestamp());
create table onetape.series (
  name text primary key, gen bigint not null, token bytea not null, bytes bigint not null default 0,
  at timestamptz not null default clock_timestamp());
create index series_pair on onetape.series (split_part(name, '@', 1));
create table onetape.past (
  series text not null, gen bigint not null, token bytea not null, primary key (series, gen));
create table onetape.file (
  series text not null, path text not null, size bigint not null, digest bytea not null,
  primary key (series, path));
create table onetape.chunk (
  series text not null, path text not null, start bigint not null, gen bigint not null,
  body bytea not null, primary key (series, path, start));
alter table onetape.chunk alter column body set storage external;
create table onetape.lease (
  name text primary key, owner text not null, until timestamptz not null, pages int not null,
  pid int, started timestamptz);
create table onetape.fact (
  name text primary key, value jsonb not null, at timestamptz not null, until timestamptz not null);
"""
# Units by account, length of the window in seconds, and hundredth of that length. Length 0: requests
# in flight by ticket, each counted until it is settled or expires. Only counts of a day and longer
# survive a crash of the server. The row without an account notices one: it is then missing.
_SPENT = """
create table onetape.spent (
  account text not null, length float8 not null, slot text not null, at timestamptz not null,
  units float8 not null, primary key (account, length, slot)) partition by range (length);
create unlogged table onetape.spent_short
  partition of onetape.spent for values from (minvalue) to (86400);
create table onetape.spent_long
  partition of onetape.spent for values from (86400) to (maxvalue);
insert into onetape.spent values ('', 0, '', '-infinity', 0);
create function onetape.spend(_account text, _length float8, _units float8) returns void
language sql as $$
  insert into onetape.spent as s values (_account, _length,
    floor(extract(epoch from clock_timestamp()) * 100 / _length)::bigint::text, clock_timestamp(), _units)
  on conflict (account, length, slot) do update set units = s.units + excluded.units, at = excluded.at
$$;
create function onetape.used(_account text, _length float8) returns float8
language sql as $$
  select coalesce(sum(units), 0) from onetape.spent where account = _account and length = _length
    and at > clock_timestamp() - make_interval(secs => _length)
$$;
create function onetape.settle(_done jsonb) returns void language plpgsql as $$
declare op record;
begin
  for op in select o.value ->> 0 as account, o.value ->> 1 as kind, o.value -> 2 as what,
      (o.value ->> 3)::float8 as units from jsonb_array_elements(_done) with ordinality o
      order by 1, o.ordinality loop
    perform pg_advisory_xact_lock(hashtext(op.account));
    if op.kind = 'end' then
      delete from onetape.spent where account = op.account and length = 0 and slot = op.what #>> '{}';
    elsif op.kind = 'spend' then
      perform onetape.spend(op.account, l::float8, op.units)
      from jsonb_array_elements_text(op.what) l;
    elsif op.kind = 'reach' then
      perform onetape.spend(op.account, l::float8, op.units - onetape.used(op.account, l::float8))
      from jsonb_array_elements_text(op.what) l where onetape.used(op.account, l::float8) < op.units;
    else
      delete from onetape.spent where account = op.account;
    end if;
  end loop;
end $$;
"""
_TAKE = f"""
create function onetape.take(_account text, _ticket text, _units float8, _lengths float8[],
  _limits float8[], _names text[], _values jsonb, _done jsonb, out waits float8[], out facts jsonb)
language plpgsql {_GUARD} as $$
declare now timestamptz; old float8; flying float8; lost timestamptz; total float8; excess float8;
begin
  perform onetape.settle(_done);
  if cardinality(_lengths) > 0 then
    perform pg_advisory_xact_lock(hashtext(_account));
    now := clock_timestamp();
    insert into onetape.spent values ('', 0, '', now, 0) on conflict do nothing;
    select at into lost from onetape.spent where account = '';
    -- Requests of processes that died count as spent when they expire, and counts from the future,
    -- before the server's clock was set back, as spent now.
    update onetape.spent set at = now
    where account = _account and (length > 0 or at > now + interval '200 s') and at > now + interval '2 s';
    with dead as (delete from onetape.spent
      where account = _account and length = 0 and at <= now returning units)
    select coalesce(sum(units), 0) into old from dead;
    select coalesce(sum(units), 0) into flying from onetape.spent where account = _account and length = 0;
    waits := array_fill(0::float8, array[cardinality(_lengths)]);
    for i in 1 .. cardinality(_lengths) loop
      if old > 0 then
        perform onetape.spend(_account, _lengths[i], old);
      end if;
      delete from onetape.spent where account = _account and length = _lengths[i]
        and at <= now - make_interval(secs => _lengths[i]);
      total := onetape.used(_account, _lengths[i]) + flying;
      if _lengths[i] < 86400 and lost > now - make_interval(secs => _lengths[i]) then
        total := total + _limits[i] / 2;
      end if;
      excess := total + least(_units, _limits[i]) - _limits[i];
      if excess > 0 then
        waits[i] := (
          select coalesce(min(extract(epoch from s.at - now)::float8 + _lengths[i]), _lengths[i])
          from (select at, sum(units) over (order by at) freed from onetape.spent
            where account = _account and length = _lengths[i]) s where s.freed >= excess);
      end if;
    end loop;
    if _ticket <> '' and 0 >= all(waits) then
      insert into onetape.spent values (_account, 0, _ticket, now + interval '150 s', _units);
    end if;
  end if;
  insert into onetape.fact as f select v.key, v.value -> 0, clock_timestamp(),
    clock_timestamp() + make_interval(secs => least((v.value ->> 1)::float8, 2678400))
  from jsonb_each(_values) v order by 1
  on conflict (name) do update set value = excluded.value, at = excluded.at, until = excluded.until;
  delete from onetape.fact where until < clock_timestamp() and _values <> '{{}}';
  select jsonb_object_agg(f.name, jsonb_build_array(
      f.value, greatest(0, extract(epoch from clock_timestamp() - f.at)))) into facts
  from onetape.fact f where f.name = any(_names) and f.until > clock_timestamp()
    and octet_length(f.value::text) < 4194304;
end $$;
"""  # noqa: S608 - constants only
# A lease is free if its time is over, or so long that no host can have taken it, if its owner's
# connection has ended (such as that of a killed process), or if its owner is a fetch of another process
# of this host: those take turns by the host's own leases, but brief changes do not, and their owners have
# no host. The connection is not known behind a pooler.
_LEASE = f"""
create function onetape.lease(_name text, _owner text, _secs float8, _pages int, _patience float8,
  _pid int, _host text, _new boolean, _about text[], _done jsonb,
  out held text, out got int, out heads jsonb, out days jsonb)
language plpgsql {_GUARD} as $$
declare now timestamptz := clock_timestamp(); me int; began timestamptz;
begin
  perform onetape.settle(_done);
  if _secs = 0 then
    delete from onetape.lease where name = _name and owner = _owner;
    return;
  end if;
  select pid, backend_start into me, began from pg_stat_activity
  where pid = pg_backend_pid() and pid = _pid;
  if _new then
    insert into onetape.lease as l values
      (_name, _owner, now + make_interval(secs => _secs), _pages, me, began)
    on conflict (name) do update set owner = excluded.owner, until = excluded.until,
      pages = excluded.pages, pid = excluded.pid, started = excluded.started
    where l.until < now - make_interval(secs => _patience) or l.until > now + interval '10 min'
      or l.owner = _owner or (_host <> '' and split_part(l.owner, ':', 1) = _host)
      or (l.pid is not null and not exists (select from pg_stat_activity a
        where a.pid = l.pid and coalesce(a.backend_start, l.started) = l.started));
  else
    update onetape.lease set until = now + make_interval(secs => _secs), pages = _pages, pid = me,
      started = began where name = _name and owner = _owner;
  end if;
  select owner, pages into held, got from onetape.lease where name = _name;
  if held = _owner and cardinality(_about) > 0 then
    select coalesce(jsonb_object_agg(s.name, jsonb_build_array(s.gen, encode(s.token, 'hex'))), '{{}}')
    into heads from onetape.series s where split_part(s.name, '@', 1) = any(_about);
    select jsonb_build_array(f.value, greatest(0, extract(epoch from now - f.at))) into days
    from onetape.fact f where f.name = 'days' and f.until > now
      and octet_length(f.value::text) < 4194304;
  end if;
end $$;
"""  # noqa: S608 - constants only
_FILES = f"""
create function onetape.heads(_pairs text[])
returns table (name text, gen bigint, token bytea, bytes bigint) language sql stable {_GUARD} as $$
  select s.name, s.gen, s.token, s.bytes from onetape.series s
  where split_part(s.name, '@', 1) = any(_pairs)
$$;
create function onetape.names(_names text[], _gens bigint[], _tokens bytea[])
returns table (name text, gen bigint, token bytea, at_ms float8, has_bars boolean, is_known boolean)
language sql stable {_GUARD} as $$
  select s.name, s.gen, s.token, extract(epoch from s.at)::float8 * 1000,
    exists (select from onetape.file f where f.series = s.name and f.path like '%.csv.gz'
      and f.path not like '\\_%'),
    w.gen is null or exists (select from onetape.past p
      where p.series = s.name and p.gen = w.gen and p.token = w.token)
  from onetape.series s
  left join unnest(_names, _gens, _tokens) as w(name, gen, token) on w.name = s.name
$$;
create function onetape.push(_name text, _gen bigint, _head bytea, _token bytea, _owner text,
  _frees boolean, _paths text[], _starts bigint[], _bodies bytea[], _sizes bigint[], _digests bytea[],
  _gone text[], _done jsonb, out is_held boolean, out made bigint) language plpgsql {_GUARD} as $$
begin
  perform from onetape.lease where name = _name and owner = _owner for share;
  is_held := found;
  if not is_held then
    return;
  elsif _gen = 0 then
    insert into onetape.series (name, gen, token) values (_name, 1, _token)
    on conflict (name) do nothing returning gen into made;
  else
    update onetape.series set gen = gen + 1, token = _token, at = clock_timestamp()
    where name = _name and gen = _gen and token = _head returning gen into made;
  end if;
  if made is null then
    return;
  end if;
  insert into onetape.past values (_name, made, _token);
  delete from onetape.past where series = _name and gen <= made - {_PAST};
  delete from onetape.chunk where series = _name and (_gone is null or path = any(_gone));
  delete from onetape.file where series = _name and (_gone is null or path = any(_gone));
  for i in 1 .. cardinality(_paths) loop
    delete from onetape.chunk where series = _name and path = _paths[i] and start >= _starts[i];
    update onetape.chunk set body = substring(body from 1 for (_starts[i] - start)::int)
    where series = _name and path = _paths[i] and start + octet_length(body) > _starts[i];
    insert into onetape.chunk values (_name, _paths[i], _starts[i], made, _bodies[i]);
    insert into onetape.file values (_name, _paths[i], _sizes[i], _digests[i])
    on conflict (series, path) do update set size = excluded.size, digest = excluded.digest;
    if (select count(*) from onetape.chunk where series = _name and path = _paths[i]) >= {_FOLD_AT} then
      with parts as (delete from onetape.chunk where series = _name and path = _paths[i] returning *)
      insert into onetape.chunk select _name, _paths[i], 0, max(gen), string_agg(body, '' order by start)
      from parts;
    end if;
  end loop;
  update onetape.series set bytes =
    (select coalesce(sum(size), 0) from onetape.file where series = _name) where name = _name;
  perform onetape.settle(_done);
  if _frees then
    delete from onetape.lease where name = _name and owner = _owner;
  end if;
end $$;
"""  # noqa: S608 - constants only
SCRIPT = _TABLES + _SPENT + _TAKE + _LEASE + _FILES
# The bytes that a host lacks: those added after the state that it has seen, if that is part of the
# history, and all of each file that is odd.
CHUNKS = f"""
select w.name, s.gen, s.token, k.is_known, f.path, f.size, f.digest, c.start, c.gen,
  case when octet_length(c.body) <= {MOST_FILE} and sum(octet_length(c.body)) over () <= {MOST_SERIES}
    then c.body end
from unnest(%(names)s::text[], %(gens)s::bigint[], %(tokens)s::bytea[]) as w(name, gen, token)
join onetape.series s on s.name = w.name
cross join lateral (select exists (select from onetape.past p
  where p.series = w.name and p.gen = w.gen and p.token = w.token) as is_known) k
left join onetape.file f on f.series = w.name
left join onetape.chunk c on c.series = w.name and c.path = f.path and (not k.is_known or c.gen > w.gen
  or exists (select from unnest(%(odd_names)s::text[], %(odd_paths)s::text[]) o(name, path)
    where o.name = w.name and o.path = f.path))
order by w.name, f.path like '%%.json', f.path, c.start"""  # noqa: S608 - constants only
