"""A run of the alert job over cached series: the cost of a minute with a new bar."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from tempfile import TemporaryDirectory
from time import perf_counter
from typing import Any

from onetape.data.data_manager import DataManager
from onetape.data.db.alert_records import StoredAlerts
from onetape.data.db.core.database import Database
from onetape.data.jobs.alert_bars import ClientBars
from onetape.data.jobs.alert_evaluator import ClosedBars
from onetape.data.jobs.alert_values import (
    LOCAL,
    Alert,
    IndicatorAlert,
    PriceAlert,
    Rearm,
)
from onetape.data.jobs.alerts import AlertJob, NoBars, WantedBars
from onetape.data.model.instant import DAY_MS, parse_iso
from onetape.data.model.outcome import Outcome
from onetape.data.model.span import Span

from .harness import Figure, Report, Row
from .stage import FETCHED, FIVE_YEARS, crowd_stage

_SERIES, _ROUNDS = 100, 9
_KINDS = (
    "close", "close", "close", "close", "sma(50)", "sma(20)", "ema(20)", "rsi(14)", "change", "volume",
)  # fmt: skip
_NOTE = (
    f"Milliseconds of one run over {_SERIES * len(_KINDS):,} alerts (prices and five indicators) on "
    f"{_SERIES} cached series of days, with a new closed bar on each: bars are read, every alert is "
    "evaluated and stored in SQLite, messages are sent. *cached bars alone*: of these "
    "the reads."
)
_GOAL = "<= 500 ms"
# The bar of Friday, May 31st is new to the alerts.
_BEFORE = parse_iso("2024-05-30T22:00:00")
_SPAN = Span(FIVE_YEARS.start, FETCHED + 1)


def measure() -> Report:
    """Time runs, each starting from the state of the day before."""
    with TemporaryDirectory() as folder, crowd_stage(_SERIES, span=_SPAN) as (manager, symbols):
        clock, before, now = (
            manager._services.clock,
            Path(folder, "before.db"),
            Path(folder, "now.db"),
        )
        book = StoredAlerts(Database(f"sqlite:///{before}"))
        for alert in _alerts(manager, symbols):
            book.add_alert(LOCAL, alert.to_json(), Rearm().to_json(), alert.since_ms)
        source = ClientBars(manager.client)
        AlertJob(book, _DayBefore(source), {LOCAL: _sent}, clock, 60).run()
        book._database.close()
        runs, reads = [], []
        for _ in range(_ROUNDS):
            now.write_bytes(before.read_bytes())
            database = Database(f"sqlite:///{now}")
            own = StoredAlerts(database)
            own.last_beat()  # the connection of a program that runs is open
            timed = _Timed(source)
            started = perf_counter()
            report = AlertJob(own, timed, {LOCAL: _sent}, clock, 60).run()
            runs.append((perf_counter() - started) * 1e3)
            reads.append(timed.seconds * 1e3)
            database.close()
            if report.alerts != _SERIES * len(_KINDS) or report.failed:
                raise RuntimeError(f"not every alert was evaluated: {report.to_json()}")
    figures = {"ms": Figure.of(runs), "cached bars alone": Figure.of(reads)}
    return Report("Alerts", _NOTE, [Row("1,000 alerts on 100 series", figures, _GOAL)])


class _DayBefore:
    """The source, before its last bars had closed."""

    def __init__(self, source: ClientBars) -> None:
        self._source = source

    def read(self, wanted: Sequence[WantedBars]) -> Sequence[ClosedBars | NoBars]:
        return [_without_last(bars) for bars in self._source.read(wanted)]

    def other_problems(self) -> Mapping[str, str]:
        return self._source.other_problems()


def _without_last(bars: ClosedBars | NoBars) -> ClosedBars | NoBars:
    if isinstance(bars, NoBars):
        return bars
    columns = {name: column[:-1] for name, column in bars.columns.items()}
    stamps, closes_ms = bars.stamps[:-1], bars.closes_ms[:-1]
    return replace(bars, stamps=stamps, closes_ms=closes_ms, columns=columns)


class _Timed:
    """The source, timing its reads."""

    def __init__(self, source: ClientBars) -> None:
        self._source, self.seconds = source, 0.0

    def read(self, wanted: Sequence[WantedBars]) -> Sequence[ClosedBars | NoBars]:
        started = perf_counter()
        answers = self._source.read(wanted)
        self.seconds += perf_counter() - started
        return answers

    def other_problems(self) -> Mapping[str, str]:
        return self._source.other_problems()


def _sent(_: object) -> Outcome:
    return Outcome("sent")


def _alerts(manager: DataManager, symbols: Sequence[str]) -> Iterator[Alert]:
    last = manager.get_ohlcv(symbols[0], "1d", "2024-05-01", "2024-05-30")["close"].iloc[-1]
    number = 0
    for symbol in symbols:
        for kind in _KINDS:
            number += 1
            more: dict[str, Any] = {"since_ms": _BEFORE - DAY_MS, "expires_ms": FETCHED + DAY_MS}
            more |= {"value": float(last) * (0.9 + number % 20 / 100), "rearm": Rearm()}
            if kind == "close":
                yield PriceAlert(number, LOCAL, symbol, "1d", **more)
            else:
                yield IndicatorAlert(number, LOCAL, symbol, "1d", quantity=kind, **more)


if __name__ == "__main__":
    print(measure())
