"""The alert job: reads closed bars, evaluates every alert on them, and delivers the events.

A run first checks whether runs were missed since the last one. It then claims scheduled reports
that are due, reads each series once, evaluates the alerts, delivers messages, and stores the time
of the run.

Several processes may run the job at the same time: only one of them stores an evaluation
(``AlertRecords.store``), and only one at a time tries to deliver a message. If a process is killed
at any point, the next run continues its work.
"""

from __future__ import annotations

import logging
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from itertools import chain
from typing import Any, NamedTuple, Protocol

from ..clock import Clock
from ..errors import DataError, QueryError
from ..model.instant import DAY_MS, HOUR_MS, MINUTE_MS, SECOND_MS, iso
from ..model.outcome import Outcome
from ..model.texts import counted, duration
from ..observability.prometheus import HasMetrics
from ..vendors.foreign import call_foreign
from .alert_book import AlertRecords, Beat, EvaluatedAlert
from .alert_deliveries import AlertRun, Delivery
from .alert_evaluator import (
    BarsNeeded,
    ClosedBars,
    Evaluation,
    apart,
    bars_needed,
    evaluate,
    evaluate_data,
    evaluate_failure,
    events_by_bar,
)
from .alert_values import (
    Alert,
    AlertEvent,
    AlertState,
    CrossingAlert,
    DataAlert,
    StoredAlert,
)
from .due_runs import next_report

__all__ = [
    "AlertJob",
    "BarSource",
    "Deliver",
    "NoBars",
    "RunReport",
    "WantedBars",
    "WithAlertJob",
    "job_health",
    "job_health_in_words",
]

log = logging.getLogger("onetape.alerts")

Deliver = Callable[[Delivery], Outcome]

# An attempt that takes longer than this is assumed to be from a dead process.
LEASE_MS = 5 * MINUTE_MS
# A run is late after this many intervals, but not before a minimum time; without an interval, after
# a day.
_LATE_RUNS, _LEAST_LATE_MS = 3, 10 * MINUTE_MS
_LATE_ONCE_MS = DAY_MS + HOUR_MS
_TOPIC = "alert job"
# Number of evaluations in a transaction; other processes wait a fraction of a second for it.
_STORED_AT_ONCE = 500
_LONG_UNDELIVERED_S = 3600.0


class WantedBars(NamedTuple):
    """A request for a series' closed bars, with or without its data problems.

    The number of bars is computed only when the bars are read, because time may pass until then.
    """

    symbol: str
    timeframe: str
    needed: BarsNeeded
    with_problems: bool = False


class NoBars(NamedTuple):
    """The reason why a series has no bars; ``is_lasting`` means that retrying can never help."""

    reason: str
    is_lasting: bool = False


class BarSource(Protocol):
    """The interface of a source of closed bars."""

    def read(self, wanted: Sequence[WantedBars]) -> Sequence[ClosedBars | NoBars]:
        """Return, for each requested series in order, its bars or the reason why there are none."""

    def other_problems(self) -> Mapping[str, str]:
        """Return problems with data other than these bars, in the form of ``ClosedBars.problems``."""


@dataclass
class RunReport:
    """The results of one run of the alert job.

    Attributes:
        at_ms: Start of the run, UTC milliseconds.
        alerts, series: Number of evaluated alerts, and number of series that these alerts use.
        events: Maps each event name to the number of events stored by this process.
        elsewhere: Number of evaluations that were not stored because another process had already
            stored one.
        skipped: Number of alerts whose indicator is not registered in this program.
        failed: Maps each series for which vendors returned no bars, or not all, to the reason.
        deliveries: Maps each outcome to the number of delivery attempts that ended with it.
    """

    at_ms: int
    alerts: int = 0
    series: int = 0
    events: Counter[str] = field(default_factory=Counter)
    elsewhere: int = 0
    skipped: int = 0
    failed: dict[str, str] = field(default_factory=dict)
    deliveries: Counter[str] = field(default_factory=Counter)

    @property
    def ok(self) -> bool:
        """Whether all bars were available, and no delivery was refused, postponed or left in doubt."""
        return not self.failed and not {"refused", "unknown", "later"} & self.deliveries.keys()

    def to_json(self) -> dict[str, Any]:
        """Return the report as a JSON-serializable dictionary."""
        counts = {"events": dict(self.events), "deliveries": dict(self.deliveries)}
        outcome = {"at": iso(self.at_ms // SECOND_MS * SECOND_MS), "ok": self.ok}
        numbers = {
            name: getattr(self, name) for name in ("alerts", "series", "elsewhere", "skipped")
        }
        return outcome | numbers | {"failed": dict(self.failed)} | counts


class AlertJob:
    """Runs the alert job, once or repeatedly. Use from one thread only; several processes may do so.

    Args:
        records: Store of the alerts.
        source: Source of closed bars.
        deliver: Maps each channel to the function that delivers its messages. The function is
            called outside any transaction and returns the outcome; an exception counts as an
            unknown outcome. Messages for other channels are left to other processes.
        clock: Source of the current time.
        every_s: Seconds between runs; None for a single run.
    """

    def __init__(
        self,
        records: AlertRecords,
        source: BarSource,
        deliver: Mapping[str, Deliver],
        clock: Clock,
        every_s: float | None = None,
    ) -> None:
        self._records, self._source, self._clock = records, source, clock
        self._deliver = dict(deliver)
        self._late_ms = (
            _LATE_ONCE_MS
            if every_s is None
            else max(round(_LATE_RUNS * every_s * SECOND_MS), _LEAST_LATE_MS)
        )

    def run(self) -> RunReport:
        """Run the job once, and return the results.

        Raises:
            DataError: The records cannot be read or written. Everything stored so far is kept, and
                the next run continues.
        """
        report = RunReport(self._clock.now_ms())
        stored = self._tell_silence(self._records.active_alerts(), report)
        for run in self._records.claim_reports(self._deliver, report.at_ms, next_report):
            report.events.update(event.name for event in run.events)
        self._evaluate_all(stored, report)
        self._deliver_all(report)
        now_ms = self._clock.now_ms()
        self._records.beat(Beat(now_ms, now_ms + self._late_ms))
        return report

    # --- evaluation ------------------------------------------------------------------------

    def _evaluate_all(self, stored: Iterable[StoredAlert], report: RunReport) -> None:
        on_bars: dict[tuple[str, str], list[StoredAlert]] = {}
        on_data: list[tuple[DataAlert, AlertState | None]] = []
        for record in stored:
            alert = record.alert
            if isinstance(alert, DataAlert):
                on_data.append((alert, record.state))
            if not alert.is_of_all:
                on_bars.setdefault((alert.symbol, alert.timeframe), []).append(record)
        wanted = [
            self._wanted_bars(series, on_series, report, with_problems=bool(on_data))
            for series, on_series in on_bars.items()
        ]
        answers = self._source.read(wanted) if wanted else ()
        report.series = len(wanted)
        pairs = zip(on_bars, answers, strict=True)
        read = {series: bars for series, bars in pairs if not isinstance(bars, NoBars)}
        newest = (int(bars.closes_ms[-1]) for bars in read.values() if len(bars.closes_ms))
        newest_ms = max(newest, default=0)
        problems, evaluated = dict[str, str](), list[EvaluatedAlert]()
        for bars, on_series in zip(answers, on_bars.values(), strict=True):
            reason = bars.reason if isinstance(bars, NoBars) else bars.unanswered
            if reason:
                report.failed[on_series[0].alert.series] = reason
            problems |= {} if isinstance(bars, NoBars) else bars.problems
            for alert, state in on_series:
                if isinstance(alert, CrossingAlert):
                    evaluated += self._evaluate(alert, state, bars, report, newest_ms)
        if on_data:
            problems |= self._source.other_problems()
            for about_data, state in on_data:
                own = read.get((about_data.symbol, about_data.timeframe))
                evaluated += self._evaluate_problems(
                    about_data, state, problems, own, report, newest_ms
                )
        self._store(evaluated, report)

    def _wanted_bars(
        self,
        series: tuple[str, str],
        stored: Iterable[StoredAlert],
        report: RunReport,
        *,
        with_problems: bool,
    ) -> WantedBars:
        """Return a single request for the bars that all alerts on a series (``stored``) need."""
        before, since_ms = 1, report.at_ms
        for alert in stored:
            try:
                needed = bars_needed(alert)
            except QueryError:
                continue  # it fails when it is evaluated
            before, since_ms = max(before, needed.before), min(since_ms, needed.since_ms)
        return WantedBars(*series, BarsNeeded(before, since_ms), with_problems)

    def _evaluate(
        self,
        alert: CrossingAlert,
        state: AlertState | None,
        bars: ClosedBars | NoBars,
        report: RunReport,
        newest_ms: int,
    ) -> Iterator[EvaluatedAlert]:
        """Yield an alert's evaluation if it must be stored.

        ``newest_ms`` is the closing time of the latest bar in any series.
        """
        now_ms = report.at_ms
        if isinstance(bars, NoBars):
            # Errors that the next run may not have are not reported; data alerts report series that
            # stay stale.
            if bars.is_lasting:
                failure = evaluate_failure(alert, state, bars.reason, now_ms, newest_ms)
                yield from _changed_alerts(alert, state, failure)
            return
        try:
            name = f"the indicator {alert.quantity}"
            evaluation = call_foreign(lambda: evaluate(alert, state, bars, now_ms), name)
        except DataError as error:
            if isinstance(error, QueryError) and alert.may_be_unregistered:
                report.skipped += 1
                return
            evaluation = evaluate_failure(alert, state, str(error), now_ms, newest_ms)
        report.alerts += 1
        yield from _changed_alerts(alert, state, evaluation)

    def _evaluate_problems(
        self,
        alert: DataAlert,
        state: AlertState | None,
        problems: Mapping[str, str],
        bars: ClosedBars | None,
        report: RunReport,
        newest_ms: int,
    ) -> Iterator[EvaluatedAlert]:
        lasting = () if state is None else state.problems
        # No problem counts as ended if its series could not be read.
        unread = {
            key: ""
            for key in lasting
            if any(f"{key.partition(':')[2]}:".startswith(f"{series}:") for series in report.failed)
        }
        report.alerts += 1
        problems = {**unread, **problems}
        evaluation = evaluate_data(alert, state, problems, report.at_ms, newest_ms, bars)
        yield from _changed_alerts(alert, state, evaluation)

    def _store(self, evaluated: Sequence[EvaluatedAlert], report: RunReport) -> list[bool]:
        """Store evaluations in batches; return, for each evaluation, whether it was stored.

        An evaluation is not stored if another process has already stored one. Batches are used
        because separate transactions would take longer than the rest of the run.
        """
        claimed: list[Sequence[AlertRun] | None] = []
        for start in range(0, len(evaluated), _STORED_AT_ONCE):
            claimed += self._records.store(evaluated[start : start + _STORED_AT_ONCE])
        report.elsewhere += claimed.count(None)
        runs = chain.from_iterable(filter(None, claimed))
        report.events.update(event.name for run in runs for event in run.events)
        return [own is not None for own in claimed]

    # --- missed runs ---------------------------------------------------------------------------

    def _tell_silence(
        self, stored: Sequence[StoredAlert], report: RunReport
    ) -> Sequence[StoredAlert]:
        """If the job missed runs, store an event about that for each recipient.

        Return the alerts with their updated states.
        """
        last = self._records.last_beat()
        if last is None or report.at_ms <= last.due_ms:
            return stored
        silent_s = (report.at_ms - last.at_ms) / SECOND_MS
        text = (
            f"Alerts were not evaluated for {duration(silent_s)}, since {_minute(last.at_ms)}. "
            "The bars since then are evaluated now, in order"
        )
        first: dict[tuple[str, str], StoredAlert] = {}
        for record in stored:
            first.setdefault((record.alert.channel, record.alert.recipient), record)
        silences = [_silence(record, text, last.at_ms, report.at_ms) for record in first.values()]
        stored_now = self._store(silences, report)
        # If another process stored such an event, it also evaluates the alert.
        after = {
            silence.alert.id: StoredAlert(silence.alert, silence.after)
            for silence, is_stored in zip(silences, stored_now, strict=True)
            if is_stored
        }
        return [after.get(record.alert.id, record) for record in stored]

    # --- deliveries ------------------------------------------------------------------------

    def _deliver_all(self, report: RunReport) -> None:
        """Try to deliver every due message; a failing channel is skipped until the next run."""
        channels = set(self._deliver)
        while channels:
            delivery = self._records.take_delivery(channels, self._clock.now_ms(), LEASE_MS)
            if delivery is None:
                return
            if self._clock.now_ms() >= delivery.until_ms:
                continue  # this process was suspended; others treat it as dead and send the copy
            outcome = self._attempt(delivery)
            self._records.settle_delivery(delivery, outcome, self._clock.now_ms())
            report.deliveries[outcome.status] += 1
            if outcome.status in ("later", "unknown"):
                channels.discard(delivery.channel)

    def _attempt(self, delivery: Delivery) -> Outcome:
        deliver = self._deliver[delivery.channel]
        try:
            return call_foreign(lambda: deliver(delivery), f"delivery by {delivery.channel}")
        except DataError as error:
            # The error's text may quote secrets of the delivering program, such as a token.
            cause = type(error.__cause__ or error).__name__
            log.warning("delivery through %s raised %s", delivery.channel, cause)
            return Outcome("unknown", f"the delivery raised {cause}")


def _changed_alerts(
    alert: Alert, before: AlertState | None, evaluation: Evaluation
) -> Iterator[EvaluatedAlert]:
    """Yield the evaluation in the form to be stored if it changed the state or has events."""
    if before is None or evaluation.state != before:
        bars = events_by_bar(evaluation.events)
        runs = [_run(alert, alert.series, bar_ms, events) for bar_ms, events in bars]
        yield EvaluatedAlert(alert, before, evaluation.state, runs)


def _silence(record: StoredAlert, text: str, since_ms: int, now_ms: int) -> EvaluatedAlert:
    state = record.state or AlertState()
    # Just after the last run, so that its key differs from those of the events of that run.
    event = AlertEvent(record.alert.id, "silent", apart(since_ms + 2), now_ms, text)
    run = _run(record.alert, _TOPIC, event.bar_ms, (event,))
    return EvaluatedAlert(
        record.alert, record.state, replace(state, serial=state.serial + 1), [run]
    )


def _run(alert: Alert, topic: str, bar_ms: int, events: tuple[AlertEvent, ...]) -> AlertRun:
    return AlertRun(alert.id, bar_ms, alert.recipient, alert.channel, topic, events)


def _minute(at_ms: int) -> str:
    return iso(at_ms // MINUTE_MS * MINUTE_MS)


class WithAlertJob:
    """Adds the alert job's state to a data manager's metrics, for ``start_exporter``. Thread-safe.

    Any process that can read the alert records can serve these metrics; the job itself cannot
    report that it is not running.

    Args:
        manager: Data manager whose metrics are served as well.
        records: Store of the alerts.
        clock: Source of the current time.
    """

    def __init__(self, manager: HasMetrics, records: AlertRecords, clock: Clock) -> None:
        self._manager, self._records, self._clock = manager, records, clock

    def metrics(self) -> dict[str, Any]:
        """Return the manager's metrics, with the result of :func:`job_health` under ``alert_job``."""
        health = job_health(self._records, self._clock.now_ms())
        return {**self._manager.metrics(), "alert_job": health}


def job_health(records: AlertRecords, now_ms: int) -> dict[str, Any]:
    """Return the alert job's state for another process, as JSON-serializable values.

    Returns:
        A mapping with ``alerts`` (number of active alerts), ``ran_s`` (seconds since the last run;
        None if the job has never run; negative if the time is unknown because the job's clock was
        ahead), ``late_s`` (seconds by which the next run is late; 0 if it is not), ``deliveries``
        (numbers of undelivered runs, ``pending`` and ``running``) and ``oldest_s`` (seconds since
        the close of the oldest bar with an undelivered run; 0 if there is none).

    Raises:
        DataError: The records cannot be read.
    """
    alerts, beat, runs = records.active_alerts(), records.last_beat(), records.open_runs()
    late_ms = 0 if beat is None or not alerts else max(0, now_ms - beat.due_ms)
    if beat is None and alerts:
        late_ms = max(0, now_ms - min(record.alert.since_ms for record in alerts) - _LATE_ONCE_MS)
    if beat is not None and beat.is_ahead(now_ms) and alerts:
        late_ms = beat.due_ms - beat.at_ms
    oldest_ms = min((event.at_ms for run in runs for event in run.events), default=now_ms)
    counts = Counter(run.delivery.status for run in runs)
    return {
        "alerts": len(alerts),
        "ran_s": None if beat is None else (now_ms - beat.at_ms) / SECOND_MS,
        "late_s": late_ms / SECOND_MS,
        "deliveries": {status: counts[status] for status in ("pending", "running")},
        "oldest_s": max(0, now_ms - oldest_ms) / SECOND_MS,
    }


def job_health_in_words(health: Mapping[str, Any]) -> tuple[bool | None, str, str]:
    """Return whether the alert job is running properly, its state as text, and advice.

    The first value is None if there are no alerts.

    Args:
        health: Result of :func:`job_health`.
    """
    alerts, deliveries = health["alerts"], sum(health["deliveries"].values())
    ran_s = health["ran_s"]
    ran = "never" if ran_s is None else f"{duration(abs(ran_s))} {'ago' if ran_s >= 0 else 'ahead'}"
    text = f"{counted(alerts, 'alert')}, last run {ran}"
    if deliveries:
        text += f", {deliveries} to deliver, the oldest waiting for {duration(health['oldest_s'])}"
    if health["late_s"]:
        late = f"{text}: the next run is {duration(health['late_s'])} late"
        return (
            False,
            late,
            "start `onetape alerts run --every 1m`, or find out why it is not running",
        )
    if health["oldest_s"] > _LONG_UNDELIVERED_S:
        return False, text, "the log of `onetape alerts run` has the reason"
    return (True if alerts else None), text, ""
