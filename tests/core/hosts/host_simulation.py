"""The simulation of one installation on hosts that share files, compared with an empty host."""

from __future__ import annotations

import contextlib
import os
import warnings
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any, ClassVar

import psycopg
from hypothesis import strategies as st
from hypothesis.stateful import rule

from src.data.core.cache.store import BarStore
from src.data.core.hosts import connect
from src.data.core.hosts.decisions import is_shared_file, key_of
from src.data.core.hosts.folder import shared_store
from src.data.core.hosts.postgres import PostgresFiles
from src.data.core.hosts.state import attach
from src.data.core.model.identity.series import SeriesKey
from src.data.core.model.stored.retention import Retention
from src.data.data_manager import DataManager
from tests.core.cache.bars import EVER
from tests.simulation.machine import Machine
from tests.simulation.simulation import Profile, Simulation

_EMPTY = """
truncate onetape.series, onetape.past, onetape.file, onetape.chunk, onetape.lease, onetape.fact;
delete from onetape.spent where account <> ''"""
# A server's clock that each connection sets.
CLOCK = """
create schema if not exists testing;
create or replace function testing.clock_timestamp() returns timestamptz language sql volatile
  as $$select to_timestamp(current_setting('testing.now')::float8)$$"""
OPTIONS = "options=-c%20search_path%3Dtesting,pg_catalog"


class _SimulatedServer(PostgresFiles):
    """A server whose clock shows the simulation's true time."""

    now_ms: Callable[[], int]

    def run(self, work: Any) -> Any:
        def timed(connection: psycopg.Connection[Any], is_again: bool) -> Any:
            """Set the server's clock first."""
            now_s = str(self.now_ms() / 1000)
            connection.execute("select set_config('testing.now', %s, false)", (now_s,))
            return work(connection, is_again)

        return super().run(timed)


class _Servers:
    """In place of the servers of a process: one whose time is the simulation's true time."""

    def __init__(self, server: PostgresFiles) -> None:
        self.server = server

    def of(self, rules: object, state_dir: object) -> PostgresFiles:
        self.server.host = str(state_dir)
        return self.server


@dataclass
class HostSimulation(Simulation):
    """A simulation whose store is shared; with two folders, users hop between two hosts.

    Attributes:
        url: URL of the server.
        host: The host that users are on, 0 or 1.
    """

    url: str = ""
    host: int = 0

    def __post_init__(self) -> None:
        with contextlib.closing(PostgresFiles(self.url)) as real:
            real.store_id()
        with psycopg.connect(self.url, autocommit=True) as db:
            db.execute(_EMPTY)
            db.execute(CLOCK)
        self.server = _SimulatedServer(f"{self.url}&{OPTIONS}")
        self.server.now_ms = lambda: self.true.now_ms()
        self._before = connect._servers
        connect._servers = _Servers(self.server)  # type: ignore[assignment]
        os.environ["ONETAPE_STORE"] = self.url
        super().__post_init__()

    def close(self) -> None:
        connect._servers = self._before
        del os.environ["ONETAPE_STORE"]
        self.server.close()
        super().close()

    def new_manager(self) -> DataManager:
        if not self.host:
            return super().new_manager()
        # The other host has a folder and a state of its own.
        home, state = self.folder, os.environ["ONETAPE_STATE_DIR"]
        self.folder = home / "other"
        os.environ["ONETAPE_STATE_DIR"] = str(self.folder / "state")
        try:
            return super().new_manager()
        finally:
            self.folder = home
            os.environ["ONETAPE_STATE_DIR"] = state

    def hop(self) -> None:
        """Go on at the other host, whose disk is another one."""
        self.disks.heal()
        self.host = 1 - self.host
        self.manager, self.other = self.new_manager(), None

    def store(self, folder: str) -> BarStore:
        """Return a store of another folder."""
        return shared_store(
            self.server, self.folder / folder, clock=self.true, retention=Retention()
        )


@contextlib.contextmanager
def shared_simulation(url: str, profile: Profile, start: str) -> Iterator[HostSimulation]:
    """Yield a simulation on hosts, and put everything back after it."""
    made = HostSimulation(profile, start, url=url)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        try:
            yield made
        finally:
            made.close()


class HostMachine(Machine):
    """The machine of the simulation on hosts that share files; compared at the end of each sequence."""

    url: ClassVar[str]
    compared: ClassVar[Any]

    def _simulated(self, start: str) -> Any:
        return shared_simulation(self.url, self.profile, start)

    def teardown(self) -> None:
        try:
            if hasattr(self, "sim"):
                self.sim.disks.heal()
                self.compared.compare(self.sim)
        finally:
            super().teardown()


class HoppingMachine(HostMachine):
    """The same with users who hop between two hosts; the model judges every answer."""

    hops: ClassVar[Any]

    @rule(place=st.integers(0, 5))
    def hop(self, place: int) -> None:
        """Continue on the other host, and repeat the earlier requests there."""
        self.sim.hop()
        self.hops.update(["hops"])
        if self.asked:
            question = self.asked[place % len(self.asked)]
            if not question.options:
                sent = self.sim.vendors.sent.total()
                self._ask(question)
                self.hops.update(
                    ["asked again", *["sent"] * (self.sim.vendors.sent.total() > sent)]
                )


class Compared:
    """Compares the folder of a host with one that is filled from the server, and counts.

    Attributes:
        sequences, changes, files, books: How much was compared.
    """

    def __init__(self) -> None:
        self.sequences = self.changes = self.files = self.books = 0

    def compare(self, sim: HostSimulation) -> None:
        """Bring the simulation's host up to date, fill an empty one, and compare their bytes."""
        mine = sim.store("other/cache" if sim.host else "cache")
        rows = sim.server.names({})
        keys = [key for row in rows if (key := key_of(row.name)) is not None]
        pairs = [(key.symbol, key.timeframe) for key in keys]
        for key in keys:
            mine.read(key, EVER)  # only a read notices a bit that was flipped in bars
        # The remedy if its notes and the name of its store were damaged.
        for _ in attach(mine.hosts):
            pass
        mine.hosts.pull(pairs)
        fresh = sim.store("fresh")
        fresh.hosts.pull(pairs)
        self.sequences += 1
        self.changes += sum(row.head.gen for row in rows)
        for key in keys:
            ours, theirs = _files(mine, key), _files(fresh, key)
            assert ours.keys() == theirs.keys(), f"{key}: {sorted(ours.keys() ^ theirs.keys())}"
            for name, content in ours.items():
                assert content == theirs[name], f"{key}: {name} differs"
            assert mine.view(key) == fresh.view(key)
            self.files += sum(name.endswith(".csv.gz") for name in ours)
        for symbol in {key.symbol for key in keys}:
            place = Path("ohlcv") / mine._layout.symbol(symbol).name / "actions.json"
            books = [(store.root / place) for store in (mine, fresh)]
            assert len({p.read_bytes() if p.exists() else None for p in books}) == 1, symbol
            self.books += books[0].exists()


def _files(store: BarStore, key: SeriesKey) -> dict[str, bytes]:
    """Return the files of a series that other hosts must have too."""
    folder = store._lane(key).paths.folder
    files = [p for p in folder.rglob("*") if p.is_file()] if folder.is_dir() else []
    names = {p.relative_to(folder).as_posix(): p for p in files}
    return {n: p.read_bytes() for n, p in names.items() if is_shared_file(n, is_book=False)}
