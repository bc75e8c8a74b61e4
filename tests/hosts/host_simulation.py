"""The simulation of one installation on hosts that share a log, and its replay on an empty host."""

from __future__ import annotations

import contextlib
import os
import warnings
from collections.abc import Iterator
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, ClassVar

import psycopg
import pytest
from hypothesis import strategies as st
from hypothesis.stateful import rule

from src.data.cache.actions import ActionBook, dump_book, load_book
from src.data.cache.format import json_document
from src.data.cache.store import BarStore
from src.data.config.rules_file import load_rules
from src.data.data_manager import DataManager
from src.data.hosts import connect
from src.data.hosts.decisions import key_of
from src.data.hosts.log import Log
from src.data.hosts.snapshot_log import Snapshots
from src.data.hosts.store import SharedStore
from src.data.model.retention import Retention
from src.data.model.series import SeriesKey
from src.data.wiring import facts_of
from tests.cache.bars import EVER
from tests.simulation.machine import Machine
from tests.simulation.simulation import Profile, Simulation

_EMPTY = """
truncate onetape.series cascade;
truncate onetape.lease, onetape.bucket, onetape.quota, onetape.fact"""
# A server's clock that each connection sets.
CLOCK = """
create schema if not exists testing;
create or replace function testing.clock_timestamp() returns timestamptz language sql volatile
  as $$select to_timestamp(current_setting('testing.now')::float8)$$"""
OPTIONS = "options=-c%20search_path%3Dtesting,pg_catalog"


class _SimulatedLog(Log):
    """A log whose server's clock shows the simulation's true time."""

    def run(self, work: Any) -> Any:
        def timed(connection: psycopg.Connection[Any], is_again: bool) -> Any:
            """Set the server's clock first."""
            assert self.now_ms is not None
            now_s = str(self.now_ms() / 1000)
            connection.execute("select set_config('testing.now', %s, false)", (now_s,))
            return work(connection, is_again)

        return super().run(timed)


class _Logs:
    """In place of the logs of a process: one whose time is the simulation's true time."""

    def __init__(self, log: Log) -> None:
        self.log = log

    def of(self, rules: object) -> Log:
        return self.log


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
        with contextlib.closing(Log(self.url)) as real:
            real.store_id()
        with psycopg.connect(self.url, autocommit=True) as db:
            db.execute(_EMPTY)
            db.execute(CLOCK)
        self.log = _SimulatedLog(f"{self.url}&{OPTIONS}", now_ms=lambda: self.true.now_ms())
        self._before = connect._logs
        connect._logs = _Logs(self.log)  # type: ignore[assignment]
        os.environ["ONETAPE_STORE"] = self.url
        super().__post_init__()

    def close(self) -> None:
        connect._logs = self._before
        del os.environ["ONETAPE_STORE"]
        self.log.close()
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

    def store(self, folder: str) -> SharedStore:
        """Return a store of the log in another folder."""
        vendor_facts = facts_of(load_rules(self.rules))
        return SharedStore(
            self.log, self.folder / folder, clock=self.true, vendor_facts=vendor_facts, retention=Retention()
        )  # fmt: skip


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
    """The machine of the simulation on hosts that share a log; replayed at the end of each sequence."""

    url: ClassVar[str]
    replayed: ClassVar[Any]

    def _simulated(self, start: str) -> Any:
        return shared_simulation(self.url, self.profile, start)

    def teardown(self) -> None:
        try:
            if hasattr(self, "sim"):
                self.sim.disks.heal()
                self.replayed.compare(self.sim)
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


class Replayed:
    """Compares the folder of a host with one that the log's entries fill, and counts.

    Attributes:
        sequences, entries, files, books: How much was compared.
        whole: Sequences of which the log had all entries at the end.
        snapshots, pruned: Series that a host started from a snapshot, and entries that it could not see.
    """

    def __init__(self) -> None:
        self.sequences = self.entries = self.files = self.books = 0
        self.snapshots = self.pruned = self.whole = 0

    def compare(self, sim: HostSimulation) -> None:
        """Bring the simulation's host up to date, fill empty ones, and compare their bytes.

        One is filled from all entries, unless some of them became old enough to be pruned meanwhile;
        another one from snapshots, after what they cover was pruned.
        """
        mine = sim.store("other/cache" if sim.host else "cache")
        heads = sim.log.all_heads()
        keys = [key for name in heads if (key := key_of(name)) is not None]
        pairs = [(key.symbol, key.timeframe) for key in keys]
        for key in keys:
            mine.read(key, EVER)  # only a read notices a bit that was flipped in bars
        mine.pull(pairs)
        size, others = mine.snapshots.size(), list[SharedStore]()
        if not size.pruned:
            others.append(sim.store("replayed"))
            with pytest.MonkeyPatch.context() as patch:
                patch.setattr(Snapshots, "find", lambda *_: {})
                patch.setattr(SharedStore, "snapshot", lambda *_: False)
                others[0].pull(pairs)
        self.whole += bool(others)
        others.append(late := sim.store("from-snapshots"))
        self.snapshots += size.snapshots
        self.pruned += size.pruned + mine.snapshots.prune(-1)
        late.pull(pairs)
        self.sequences += 1
        self.entries += sum(head.seq for head in heads.values())
        for key in keys:
            ours = _files(mine, key)
            for other in others:
                theirs = _files(other, key)
                assert ours.keys() == theirs.keys(), f"{key}: {sorted(ours.keys() ^ theirs.keys())}"
                for name, content in ours.items():
                    assert content == theirs[name], f"{key}: {name} differs"
                assert mine.view(key) == other.view(key)
            self.files += sum(name.endswith(".csv.gz") for name in ours)
        for symbol in {key.symbol for key in keys}:
            place = Path("ohlcv") / mine._layout.symbol(symbol).name / "actions.json"
            book, *books = (_book(store.root / place, symbol) for store in (mine, *others))
            assert books == [book] * len(others), f"the book of {symbol} differs"
            self.books += book is not None


def _files(store: BarStore, key: SeriesKey) -> dict[str, bytes]:
    """Return the files of a series that other hosts must have too: all but logs and older versions."""
    folder = store._lane(key).paths.folder
    names = [p for p in folder.rglob("*") if p.is_file()] if folder.is_dir() else []
    kept = (p for p in names if p.suffix != ".log" and p.name != ".lock")
    files = {str(p.relative_to(folder)): p for p in kept}
    return {
        name: _of_every_host(path)
        for name, path in files.items()
        if not name.startswith("_") or name.endswith(".rows.csv.gz")
        if not name.startswith("confirm")
    }


def _of_every_host(path: Path) -> bytes:
    """Return a file's bytes, without the facts from the rules of a host."""
    if not path.name.endswith(".metadata.json"):
        return path.read_bytes()
    document = json_document.load(path.read_bytes())
    document.pop("provider_info", None)
    return json_document.dump(document)


def _book(path: Path, symbol: str) -> bytes | None:
    """Return the bytes of a symbol's action book, without the samples, which stay on a host."""
    if not path.exists():
        return None
    data = path.read_bytes()
    book = replace(load_book(data, symbol), samples=None)
    return None if book == ActionBook() else dump_book(symbol, book)
