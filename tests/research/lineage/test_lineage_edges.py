"""Lineage edge cases: substituted and disputed prices, repeated reads, killed and concurrent runs."""

from __future__ import annotations

import os
import warnings
from collections.abc import Callable
from datetime import date
from pathlib import Path
from types import SimpleNamespace
from typing import Any, NamedTuple

import pandas as pd
import pytest

from src.data.bundles import Lineages, lineage
from src.data.core.bars.answer.handed_on import HandedOn
from src.data.core.clock import ManualClock
from src.data.core.disk.files import Disk
from src.data.core.model.answer.reads import BarsRead
from src.data.core.model.market.bars import BarTable
from src.data.core.model.stored.coverage import Coverage
from src.data.core.model.time.span import Span, coalesce
from src.data.data_manager import DataManager
from src.data.errors import IncompleteDataWarning, QueryError
from src.data.research.lineage.lineage import LineageRun
from src.data.research.lineage.lineage_export import exported
from src.data.research.lineage.run_records import spans_of
from tests.e2e.scripted_vendor import route_to
from tests.e2e.share_vendors import DIVIDENDS, SPLIT, Script, ShareVendor, Truth, split, stamp_span
from tests.effort import calls_of

WEEK = ("BTCUSDT", "1h", "2024-05-01", "2024-05-07")
COLUMNS = ["open", "high", "low", "close", "volume"]
SPRING, SUMMER = (date(2020, 5, 1), date(2020, 6, 30)), (date(2020, 7, 1), date(2020, 8, 28))
Share = Callable[..., DataManager]


@pytest.fixture
def share(tmp_path: Path, clock: ManualClock, monkeypatch: pytest.MonkeyPatch) -> Share:
    """Return a maker of managers on one cache, who ask these vendors of one share in this order."""

    def make(*vendors: ShareVendor) -> DataManager:
        manager = DataManager(tmp_path / "share", clock=clock)
        route_to(monkeypatch, manager, **{vendor.name: vendor for vendor in vendors})
        return manager

    return make


def quietly(manager: DataManager, days: tuple[date, date], **wishes: Any) -> pd.DataFrame:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", IncompleteDataWarning)
        return manager.get_ohlcv("AAPL", "1d", *days, **wishes)


def assert_same_bits(lineages: Lineages, run: str, *seen: pd.DataFrame) -> None:
    tables = list(lineages.read(run).values())
    assert len(tables) == len(seen)
    for table, frame in zip(tables, seen, strict=True):
        for name, column in zip(COLUMNS, table.values(), strict=False):
            assert column.tobytes() == frame[name].to_numpy().tobytes(), name


# --- answers that are not plain ------------------------------------------------------------------


def test_a_lineage_records_substituted_prices_and_replays_the_same_read(
    share: Share, bundles: Path, clock: ManualClock, tmp_path: Path
) -> None:
    """The same bars without a substitute are another read."""
    vendor = ShareVendor("x", "all", Truth(), clock)
    manager = share(vendor)
    with lineage("instead", folder=bundles, manager=manager):
        instead = quietly(manager, SPRING, provider="x")
        as_told = quietly(manager, SPRING, provider="x", adjustment="all")
    lineages = Lineages(bundles, manager)
    reads = lineages.get("instead").reads
    assert [(read.adjustment, read.substitute) for read in reads] == [
        ("split", "all prices (AAPL 1d@x)"),
        ("all", ""),
    ]
    assert_same_bits(lineages, "instead", instead, as_told)
    assert lineages.check("instead").is_identical
    kept, parts = exported(lineages.export("instead", tmp_path / "run"))
    assert kept["reads"][0]["substitute"] == "all prices (AAPL 1d@x)"
    assert [table.close.tolist() for _, table in parts] == [instead["close"].tolist()] * 2


def test_bars_of_vendors_in_dispute_are_adjusted_again_by_their_own_splits(
    share: Share, bundles: Path, clock: ManualClock
) -> None:
    """One that supplies bars which are read later has its own, too; it is one line all the same."""
    one, two = (ShareVendor(n, "raw", Truth(), clock, actions=True) for n in ("one", "two"))
    one.script = Script(lacks=[stamp_span(*SUMMER)])
    two.tells = [split(SPLIT.ex_date, 2.0), *DIVIDENDS]
    for vendor in (one, two):
        quietly(share(vendor), (SPRING[0], SUMMER[1]), provider=vendor.name)
    manager = share(one, two)
    quietly(manager, (SPRING[0], SUMMER[1]))
    with lineage("divided", folder=bundles, manager=manager):
        spring, summer = (quietly(manager, days) for days in (SPRING, SUMMER))
    disputed = summer.attrs["onetape"]["actions_disputed"]
    assert {entry["type"] for entry in disputed} == {"split"}
    assert spring.attrs["onetape"]["vendors"] != summer.attrs["onetape"]["vendors"]
    lineages = Lineages(bundles, manager)
    (read,) = lineages.get("divided").reads
    assert {v: [a.numerator for a in rows if a.type == "split"]
            for v, rows in read.actions.own.items()} == {"one": [4.0], "two": [2.0]}  # fmt: skip
    assert_same_bits(lineages, "divided", pd.concat([spring, summer]))
    assert lineages.check("divided").is_identical


# --- what is recognised --------------------------------------------------------------------------


def test_a_repeated_read_is_recognised_without_a_new_record(
    manager: DataManager, bundles: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    built, placed = list[Any](), list[Any]()
    real, data_key = HandedOn.read, HandedOn.data_key
    monkeypatch.setattr(
        HandedOn, "data_key", lambda self: placed.append(self.answer) or data_key(self)
    )
    monkeypatch.setattr(
        HandedOn, "read", lambda self: built.append(self.answer.query) or real(self)
    )
    bounds = ("AAPL", "1d", "2024-03-01", "2024-04-30")
    kinds: tuple[dict[str, Any], ...] = ({}, {"provider": "yahoo"}, {"adjustment": "raw"})
    for wishes in kinds * 2:
        manager.get_ohlcv("AAPL", "1d", "2024-02-26", "2024-05-10", **wishes)
    for path in Path(manager.client.folder).rglob("*"):
        os.utime(path, (1_700_000_000,) * 2)  # what was just written is read anew each time
    with lineage("again", folder=bundles, manager=manager):
        for wishes in kinds:
            for _ in range(4):
                manager.get_ohlcv(*bounds, **wishes)
            manager.get_ohlcv("AAPL", "1d", "2024-03-11", "2024-03-15", **wishes)
        assert len(built) == 3
        assert len({id(answer) for answer in placed}) == len(placed) < 15  # kept answers are known
        manager.get_ohlcv("AAPL", "1d", "2024-03-01", "2024-05-01")
        manager.get_ohlcv("AAPL", "1w", "2024-03-04", "2024-04-26")
        manager.get_ohlcv("AAPL", "1w", "2024-03-11", "2024-04-26")
    assert len(built) == 5
    assert len(Lineages(bundles, manager).get("again").reads) == 4


# --- processes -----------------------------------------------------------------------------------


def test_one_of_two_processes_that_begin_the_same_lineage_id_is_refused(
    manager: DataManager, bundles: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The other process begins between the call and the lock, after which the id is checked."""
    real, others = Disk.lock, [lineage("same", folder=bundles, manager=manager)]

    def lock(disk: Disk, path: Path, *more: Any, **options: Any) -> Any:
        if path.parent == bundles / ".lineage" and others:
            others.pop().begin()
        return real(disk, path, *more, **options)

    monkeypatch.setattr(Disk, "lock", lock)
    with pytest.raises(QueryError, match="lineage 'same' already"), lineage(
        "same", folder=bundles, manager=manager
    ):  # fmt: skip
        pytest.fail("the block must not run")
    assert not others
    assert len(list((bundles / ".lineage").glob("*.json"))) == 1


# --- how much work a read is --------------------------------------------------------------------


class _Handed(NamedTuple):
    """An answer of no bars in a stretch, as a service hands it on."""

    whole: BarsRead

    def data_key(self) -> str:
        return "one"

    def span(self) -> Span:
        return self.whole.span

    def read(self) -> BarsRead:
        return self.whole


def sevenths(span: Span) -> tuple[Span, ...]:
    """Return each seventh millisecond of a span."""
    return tuple(Span(n, n + 1) for n in range(*span) if n % 7 == 0)


@pytest.mark.parametrize("step, length", [(1, 20), (30, 20), (-1, 20), (-30, 20)])
def test_recording_a_read_takes_the_same_effort_after_many_others(
    manager: DataManager, bundles: Path, step: int, length: int
) -> None:
    """Windows that slide, that lie apart, and the same backwards; each lacks something."""
    manager.get_ohlcv("BTCUSDT", "1h", "2024-05-01", "2024-05-02")
    query = manager.client.query("BTCUSDT", "1h", "2024-05-01", "2024-05-02")
    whole = BarsRead(
        Path("cache"), query.key, 1, query, BarTable.empty(), Coverage(), (), (), (), None, None,
        None, query.span, is_made=False, substitute="",
    )  # fmt: skip
    spans = [Span(10**6 + n * step, 10**6 + n * step + length) for n in range(800)]

    class Given(SimpleNamespace):
        """An answer that can be referred to weakly."""

    answers = [Given(query=query, read=whole._replace(span=s, lacking=sevenths(s))) for s in spans]
    run = LineageRun("many", None, bundles, manager, ManualClock(0))
    run.begin()

    def read(first: int, last: int) -> int:
        def work() -> None:
            for answer in answers[first:last]:
                run.answered(answer, lambda one: _Handed(one.read))

        return calls_of(work)

    counts = [read(0, 200), read(200, 400), read(400, 600), read(600, 800)]
    assert max(counts) < 1.5 * min(counts), counts
    run.end()
    (one,) = Lineages(bundles, manager).get("many").reads
    assert coalesce(one.spans) == coalesce(spans)
    lacking = coalesce(one for span in spans for one in sevenths(span))
    irregular = list(spans_of(one.irregular))
    assert irregular[:511] == lacking[:511] and irregular[-1].end == lacking[-1].end
    assert len(irregular) == min(512, len(lacking))
