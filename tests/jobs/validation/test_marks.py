"""Marks on stored bars that their whole series proves wrong: committed once, in every answer, ended."""

from __future__ import annotations

import warnings
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest

from src.data.core.bars.client import BarsClient
from src.data.core.cache.write import year_commit
from src.data.core.clock import ManualClock
from src.data.core.model.identity.kind import Basis
from src.data.core.model.identity.series import SeriesKey
from src.data.core.model.market.actions import Action
from src.data.core.model.market.bars import BarTable
from src.data.core.model.stored.reasons import GRAVE, IN_WHOLE, SETTLED
from src.data.core.model.stored.stored import CoverageSpan, StoredColumns
from src.data.core.model.time.instant import date_of
from src.data.core.model.time.span import Span
from src.data.core.model.time.timeframe import Timeframe
from src.data.core.prices.judgement.findings import QualityFinding, QualityReport, Repair, Severity
from src.data.data_manager import DataManager
from src.data.errors import IncompleteDataError, IncompleteDataWarning, QueryError, StorageError
from src.data.feed.services import clock_of, services_of
from src.data.jobs.validation.marks import mark_series, marks_of
from tests.core.cache.counts import some
from tests.core.prices.judgement.planting import KINDS, clean
from tests.processes import ended, fork, killed_at, places
from tests.vendor_server import Fault, VendorServer

from .test_service import BAD, GOOD, contents, filled, frame_of, manager

__all__ = ["filled", "manager"]
DAY = 86_400_000
SERIES = SeriesKey(BAD, Timeframe.parse("1d"))


@pytest.fixture(autouse=True)
def _quiet() -> Iterator[None]:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", IncompleteDataWarning)
        yield


def ask(manager: DataManager, **more: Any) -> pd.DataFrame:
    return manager.get_ohlcv(BAD, "1d", "2000-01-01", offline=True, adjustment="raw", **more)


def provenance(frame: pd.DataFrame) -> dict[str, Any]:
    account: dict[str, Any] = frame.attrs["onetape"]
    return account


def grave(frame: pd.DataFrame) -> list[Any]:
    return [span for span in provenance(frame)["spans"] if span.get("reason", "").startswith(GRAVE)]


def generation(manager: DataManager, key: SeriesKey = SERIES) -> int:
    return manager.client.columns(key, Span(0, 1)).generation


# --- what an answer carries from then on --------------------------------------------------------


def test_bars_marked_grave_by_validation_are_suspect_in_the_next_answer(
    filled: DataManager,
) -> None:
    before = ask(filled)
    assert grave(before) == []
    report = filled.validate(BAD, "1d", mark=True)
    assert (report.marked, report.unmarked) == (4, 0)
    assert "4 bars marked as grave" in report.title
    for one in (filled, DataManager(filled.cache.cache_dir, clock=clock_of(filled))):
        frame = ask(one)
        pd.testing.assert_frame_equal(frame, before)
        (span,) = grave(frame)
        assert (span["rows"], span["state"]) == (4, "suspect")
        assert span["reason"].startswith("grave: in the whole series: unit: 4 rows 100 times")
        assert not provenance(frame)["complete"]
        assert provenance(frame)["quality"]["score"] <= 0.9
        with pytest.raises(IncompleteDataError, match="as the whole series shows: unit"):
            ask(one, strict=True)
    wrong = pd.Timestamp(grave(frame)[0]["start"]).date()
    clean_part = (BAD, "1d", "2000-01-01", wrong - pd.Timedelta(days=1))
    more: dict[str, Any] = {"offline": True, "adjustment": "raw"}
    assert grave(filled.get_ohlcv(*clean_part, **more)) == [], "the bars before are as they were"


@pytest.mark.parametrize("is_batch", [False, True])
def test_a_failed_refresh_is_reported_although_bars_were_marked_after_it(
    filled: DataManager,
    vendors: VendorServer,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    is_batch: bool,
) -> None:
    monkeypatch.delenv("TIINGO_API_KEY", raising=False)
    rules = tmp_path / "rules.yaml"
    lines = [  # the second vendor of each needs a key
        "stock_daily: {primary: yahoo, backup: [tiingo]}",
        "crypto: {primary: binance, backup: [tiingo]}",
    ]
    for name in ("yahoo", "binance"):
        vendors.fault(name, Fault.status(403))
        lines.append(f"{name}: {{base_url: '{vendors.base_url(name)}', transport: http}}")
    rules.write_text("{}\n{}\nproviders:\n  {}\n  {}\n".format(*lines))
    manager = DataManager(filled.cache.cache_dir, rules, clock=clock_of(filled))
    stored = ask(manager)
    days = [str(stored.index[n].date()) for n in (0, 20)]
    for _ in range(3):
        manager.get_ohlcv(BAD, "1d", *days, adjustment="raw")
    before = generation(manager)

    def refreshed() -> list[pd.DataFrame]:
        if is_batch:
            return [*manager.get_ohlcv_batch([GOOD, BAD], "1d", *days, force_refresh=True).values()]
        return [manager.get_ohlcv(BAD, "1d", *days, adjustment="raw", force_refresh=True)]

    first, again = refreshed(), refreshed()
    assert generation(manager) == before + 1, "other bars were marked"
    for frame in (*first, *again):
        assert len(frame) and not grave(frame) and not provenance(frame)["complete"]
        assert provenance(frame)["attempts"][0]["outcome"] != "ok"
    for one, other in zip(first, again, strict=True):
        assert provenance(one)["rejected"] == provenance(other)["rejected"] != {}
    with pytest.raises(IncompleteDataError, match="fetched again"):
        manager.get_ohlcv(BAD, "1d", *days, adjustment="raw", force_refresh=True, strict=True)
    for _ in range(4):  # the stored bars themselves are complete, also once the answer is cached
        assert provenance(manager.get_ohlcv(BAD, "1d", *days, adjustment="raw"))["complete"]


def test_a_mark_is_seen_by_another_process(filled: DataManager, clock: ManualClock) -> None:
    held, folder = ask(filled), filled.cache.cache_dir

    def strictly() -> None:
        manager = DataManager(folder, clock=clock)
        with pytest.raises(IncompleteDataError, match="as the whole series shows: unit"):
            ask(manager, strict=True)
        pd.testing.assert_frame_equal(ask(manager), held)

    filled.validate(BAD, "1d", mark=True)
    assert ended(fork(strictly)) == 0


def test_validate_without_mark_writes_no_file(filled: DataManager) -> None:
    before = contents(Path(filled.cache.cache_dir))
    assert filled.validate(BAD, "1d").marked == 0
    assert contents(Path(filled.cache.cache_dir)) == before


def test_a_second_validation_with_mark_commits_no_change(filled: DataManager) -> None:
    filled.validate(BAD, "1d", mark=True)
    before, files = generation(filled), contents(Path(filled.cache.cache_dir))
    again = filled.validate(BAD, "1d", mark=True)
    assert (again.marked, again.unmarked, generation(filled)) == (0, 0, before)
    assert contents(Path(filled.cache.cache_dir)) == files
    assert filled.validate(GOOD, "1d", mark=True).marked == 0
    assert generation(filled, replace(SERIES, symbol=GOOD)) == 1


def test_a_mark_that_no_check_confirms_any_more_is_removed(filled: DataManager) -> None:
    stamps = filled.client.columns(SERIES, Span(0, 1 << 60)).table.stamps
    filled.validate(BAD, "1d", mark=True)
    right = Span(int(stamps[7]), int(stamps[8]))
    reason = f"{IN_WHOLE}unit: an action has explained it since"
    assert filled.client.mark(SERIES, generation(filled), [(right, reason)], [])
    assert sum(span["rows"] for span in grave(ask(filled))) == 5
    report = filled.validate(BAD, "1d", mark=True)
    assert (report.marked, report.unmarked) == (0, 1)
    assert "1 bar no longer marked" in report.title
    (span,) = grave(ask(filled))
    assert (span["rows"], span["reason"].startswith(IN_WHOLE)) == (4, True)
    states = filled.get_ohlcv(BAD, "1d", "2000-01-01", offline=True, columns=["state"])["state"]
    # Four other rows are on holidays of London.
    assert states.value_counts().to_dict() == {"final": 242, "suspect": 8}


def test_a_series_that_has_changed_meanwhile_is_not_marked_by_the_old_look(
    filled: DataManager,
) -> None:
    stamps = filled.client.columns(SERIES, Span(0, 1 << 60)).table.stamps
    old, span = generation(filled), Span(int(stamps[7]), int(stamps[8]))
    assert not filled.client.mark(SERIES, old - 1, [(span, f"{IN_WHOLE}unit: no")], [])
    assert generation(filled) == old
    assert grave(ask(filled)) == []


def test_a_series_that_changes_during_the_look_is_looked_at_again(
    filled: DataManager, monkeypatch: pytest.MonkeyPatch
) -> None:
    frame = ask(filled).iloc[:1]
    mark, tries = BarsClient.mark, list[int]()

    def late(self: BarsClient, key: SeriesKey, at: int, *marks: Any) -> bool:
        tries.append(at)
        if len(tries) == 1:
            filled.cache.put(frame * 1.0001, BAD, "1d", provider="yahoo")
        return mark(self, key, at, *marks)

    monkeypatch.setattr(BarsClient, "mark", late)
    assert filled.validate(BAD, "1d", mark=True).marked == 4
    assert tries == [tries[0], tries[0] + 1]


def test_a_look_keeps_no_bar_from_being_evicted(filled: DataManager) -> None:
    listener = filled.cache.store.listener
    assert listener is not None
    use = listener.use_of(SERIES)
    filled.validate(BAD, "1d", mark=True)
    use.take_last(1)  # the mark's commit counts
    filled.validate(BAD, "1d")
    assert use.take_last(1) is None
    filled.client.columns(SERIES, Span(0, 1 << 60))
    assert use.take_last(1) is not None


# --- what is refused, what fails ----------------------------------------------------------------


def test_a_part_of_a_series_is_not_marked(filled: DataManager) -> None:
    with pytest.raises(QueryError, match="whole series"):
        filled.validate(BAD, "1d", "2020-01-01", mark=True)


def test_a_full_disk_while_marking_is_an_error_of_validate_and_not_of_a_job(
    filled: DataManager, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    def refuse(*_: Any) -> None:
        raise StorageError("the disk is full")

    services = services_of(filled)
    assert services is not None
    monkeypatch.setattr(BarsClient, "mark", refuse)
    with pytest.raises(StorageError):
        filled.validate(BAD, "1d", mark=True)
    assert mark_series(services, [SERIES]) == {}
    assert "could not be marked: the disk is full" in caplog.text


def test_a_run_ended_between_two_series_leaves_the_first_marked_and_can_be_continued(
    filled: DataManager, monkeypatch: pytest.MonkeyPatch
) -> None:
    frame = ask(filled)
    other = replace(SERIES, symbol="BP.L")
    filled.cache.put(frame, "BP.L", "1d", provider="yahoo")
    services = services_of(filled)
    assert services is not None
    mark, done = BarsClient.mark, list[SeriesKey]()

    def killed(self: BarsClient, key: SeriesKey, *rest: Any) -> bool:
        if done:
            raise KeyboardInterrupt
        done.append(key)
        return mark(self, key, *rest)

    monkeypatch.setattr(BarsClient, "mark", killed)
    with pytest.raises(KeyboardInterrupt):
        mark_series(services, [SERIES, other])
    monkeypatch.setattr(BarsClient, "mark", mark)
    assert mark_series(services, [SERIES, other]) == {"BP.L_1d": 4}
    assert mark_series(services, [SERIES, other], stop=lambda: True) == {}


def test_a_kill_at_any_place_of_the_commit_loses_no_bar_and_the_next_look_marks_all(
    tmp_path: Path, clock: ManualClock
) -> None:
    table = clean(replace(KINDS[5], rows=250, dividends=0), np.random.default_rng(5)).table
    frame = frame_of(table)
    frame.index -= pd.Timedelta(weeks=20)
    ends = np.flatnonzero(np.diff(frame.index.year)) + 1
    frame.iloc[ends[0] - 2 : ends[0] + 2, :4] /= 100  # in two years: one after the other is written

    def stored(name: str) -> DataManager:
        manager = DataManager(tmp_path / name, clock=clock)
        manager.cache.put(frame, BAD, "1d", provider="yahoo")
        return manager

    files = [year_commit.__file__]
    first = stored("counted")
    count = places(lambda: first.validate(BAD, "1d", mark=True), files)
    assert len(grave(ask(first))) >= 1
    for place in some(range(1, count + 1), 3):
        manager = stored(f"killed{place}")
        bars = ask(manager)
        assert killed_at(place, lambda m=manager: m.validate(BAD, "1d", mark=True), files)  # type: ignore[misc]
        again = DataManager(manager.cache.cache_dir, clock=clock)
        pd.testing.assert_frame_equal(ask(again), bars)
        again.validate(BAD, "1d", mark=True)
        assert sum(span["rows"] for span in grave(ask(again))) == 4, place
        with pytest.raises(IncompleteDataError):
            ask(again, strict=True)


# --- which marks a report asks for: pure --------------------------------------------------------


def report_of(*findings: QualityFinding, checked: tuple[str, ...] = ("unit", "dividend")) -> Any:
    return QualityReport(BAD, "1d", findings=findings, checked=checked)


def finding(rows: list[int], severity: Severity = "error", **more: Any) -> QualityFinding:
    stamps = np.array(rows, dtype=np.int64) * DAY
    repairs = (Repair("prices", stamps, 0.01, ("close",)),)
    return QualityFinding(
        "unit", "intrinsic", severity, stamps, "off", "fetch", **{"repairs": repairs, **more}
    )


def stored(rows: list[int], *parts: tuple[int, int, str, str]) -> StoredColumns:
    stamps = np.array(rows, dtype=np.int64) * DAY
    ones = np.ones(len(rows))
    coverage = tuple(
        CoverageSpan(Span(a * DAY, b * DAY), state, "yahoo", reason, Basis("raw"), 0, None, None)
        for a, b, state, reason in parts
    )
    return StoredColumns(SERIES, 1, BarTable(stamps, ones, ones, ones, ones, ones), coverage)


def spans(marked: Any) -> list[tuple[int, int]]:
    return [(int(s.start // DAY), int(s.end // DAY)) for s, _ in marked.doubts]


def test_adjacent_marked_rows_are_one_span_up_to_the_next_bar() -> None:
    held = stored([0, 1, 2, 5, 6, 7], (0, 9, "final", ""))
    marks = marks_of(report_of(finding([1, 2, 6])), held)
    assert spans(marks) == [(1, 5), (6, 7)]
    assert {reason for _, reason in marks.doubts} == {f"{IN_WHOLE}unit: off"}
    assert spans(marks_of(report_of(finding([7])), held)) == [(7, 9)]


@pytest.mark.parametrize(
    ("state", "reason"),
    [("provisional", ""), ("suspect", f"{GRAVE}as it came"), ("suspect", "doubtful: a split nearby"),
     ("final", f"{SETTLED}sent three times"), ("suspect", f"{IN_WHOLE}unit: off")],
)  # fmt: skip
def test_bars_that_are_not_final_or_are_settled_are_not_marked(state: str, reason: str) -> None:
    held = stored([0, 1, 2, 3], (0, 2, state, reason), (2, 4, "final", ""))
    assert spans(marks_of(report_of(finding([1, 2])), held)) == [(2, 3)]


def test_a_warning_without_a_repair_and_information_are_not_marked() -> None:
    held = stored([0, 1, 2], (0, 3, "final", ""))
    assert not any(marks_of(report_of(finding([1], "warning", repairs=())), held))
    assert not any(marks_of(report_of(finding([1], "info")), held))


def test_an_error_without_a_repair_is_marked_as_in_an_answer() -> None:
    held = stored([0, 1, 2], (0, 3, "final", ""))
    assert spans(marks_of(report_of(finding([1], repairs=())), held)) == [(1, 2)]


def test_the_first_bar_that_ignores_a_dividend_is_marked() -> None:
    repair = Repair("dividend", np.array([3 * DAY], dtype=np.int64), 0.01)
    held = stored([0, 1, 2, 5, 6], (0, 7, "final", ""))
    assert spans(marks_of(report_of(finding([3], repairs=(repair,))), held)) == [(5, 6)]


def test_a_mark_stays_where_its_check_could_not_run() -> None:
    held = stored([0, 1, 2], (0, 1, "final", ""), (1, 2, "suspect", f"{IN_WHOLE}split: off"),
                  (2, 3, "final", ""))  # fmt: skip
    assert not any(marks_of(report_of(), held))
    assert marks_of(report_of(checked=("split",)), held).ended == [Span(DAY, 2 * DAY)]
    undone = replace(report_of(checked=("split",)), not_checked={"adjustment": "two bases"})
    assert not any(marks_of(undone, held))


def test_a_mark_is_reported_while_prices_cannot_be_converted_to_one_adjustment(
    manager: DataManager, clock: ManualClock
) -> None:
    share = clean(replace(KINDS[5], rows=250, dividends=0), np.random.default_rng(5))
    manager.cache.put(frame_of(share.table), BAD, "1d", provider="own", adjustment="unknown")
    services, marked = services_of(manager), int(share.table.stamps[100])
    assert services is not None
    doubt = Span(marked, marked + DAY), f"{IN_WHOLE}unit: off"
    generation = services.client.columns(SERIES, Span(0, DAY)).generation
    assert services.client.mark(SERIES, generation, [doubt], [])
    assert manager.validate(BAD, "1d").at_least("error") == ()  # the check ran, the mark is to go
    split_ms = int(share.table.stamps[200])
    split = Action(date_of(split_ms), "split", split_ms, 2.0, 1.0, source="yahoo", fetched_at=1)
    manager.cache.store.add_actions(BAD, [split], Span(0, split_ms + DAY), "yahoo", clock.now_ms())
    report = manager.validate(BAD, "1d", mark=True)
    assert "adjustment" in report.not_checked and "unit" in report.checked
    (doubted,) = report.at_least("error")
    assert (doubted.check, doubted.stamps.tolist()) == ("doubted", [marked])
    assert report.unmarked == 0
