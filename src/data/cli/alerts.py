"""``onetape alerts``: adds, lists and removes alerts, and runs the job that delivers them."""

from __future__ import annotations

import argparse
import json
import time
from collections.abc import Callable, Mapping, Sequence
from importlib import import_module
from typing import TYPE_CHECKING, Any

from ..errors import ConfigError, DataError, QueryError
from ..jobs.alert_book import EvaluatedAlert, ListedAlert
from ..jobs.alert_deliveries import Delivery
from ..jobs.alert_values import (
    CONDITIONS,
    KINDS,
    LOCAL,
    Alert,
    AlertEvent,
    CrossingAlert,
    StoredAlert,
    kind_of,
)
from ..jobs.signals import job_signals
from ..model.instant import iso
from ..model.outcome import Outcome
from ..model.texts import listed
from .arguments import add_output, add_timeout, command, every, positive
from .output import complain_about, note, print_line
from .report import FAILED, OK, Line, Report, Shown
from .tables import TextTable, counted

if TYPE_CHECKING:
    from ..jobs.alert_book import AlertBook
    from ..jobs.alert_evaluator import Evaluation
    from ..jobs.alerts import AlertJob, RunReport
    from ..wiring import Services

RECORDS = "db.alert_records"


def configure(parser: argparse.ArgumentParser) -> None:
    """Add the command's sub-commands to its parser."""
    actions = parser.add_subparsers(dest="action", metavar="ACTION", required=True)
    add = actions.add_parser("add", help="add an alert on closed bars of a series, or on its data")
    add.add_argument(
        "symbol",
        nargs="?",
        help=f"such as AAPL; {_flags_of_all()} without a symbol watches all series",
    )
    add.add_argument("condition", nargs="?", metavar="CONDITION", help=" or ".join(CONDITIONS))
    add.add_argument(
        "value", nargs="?", type=float, metavar="VALUE", help="a price, or a value of --indicator"
    )
    add.add_argument("--timeframe", default="15m", help="timeframe of the bars (default 15m)")
    for alert_type in KINDS.values():
        if alert_type.option:
            (placeholder, text), flag = alert_type.option, _flag(alert_type)
            # Kept under its flag, which is the name of no other argument.
            add.add_argument(flag, dest=flag, metavar=placeholder, help=text)
    add.add_argument(
        "--hysteresis",
        metavar="AMOUNT",
        help=(
            "re-arm once the value has moved back past VALUE by AMOUNT, such as 5 or 2%%; "
            "0: as soon as it is back at VALUE"
        ),
    )
    add.add_argument(
        "--cooldown",
        type=float,
        metavar="MINUTES",
        help="re-arm, but do not fire again before this time has passed",
    )
    add.add_argument(
        "--persistence",
        type=positive,
        metavar="BARS",
        help="fire after this many consecutive bars beyond VALUE",
    )
    add.add_argument(
        "--expires", metavar="TIME", help="UTC time at which the alert ends; default: in 90 days"
    )
    lister = actions.add_parser("list", help="list the alerts of this machine, with their state")
    remove = actions.add_parser("remove", help="delete alerts")
    remove.add_argument(
        "ids", nargs="+", type=positive, metavar="ID", help="an id from `onetape alerts list`"
    )
    job = actions.add_parser("run", help="evaluate all alerts and deliver those of this machine")
    when = job.add_mutually_exclusive_group(required=True)
    when.add_argument("--once", action="store_true", help="run once, for cron or a timer")
    when.add_argument(
        "--every",
        type=every,
        metavar="TIME",
        help="repeat at this interval, such as 1m, until Ctrl-C or SIGTERM",
    )
    job.add_argument(
        "--webhook", metavar="URL", help="post messages to this URL; default: print them here"
    )
    command(add, _add, "Without --hysteresis, --cooldown or --persistence an alert fires once.")
    for subparser in (add, job):
        add_timeout(subparser)
    command(
        job,
        _run,
        "Exit code of --once: 1 if bars or deliveries failed. The next run tries again. "
        "If the reader of the output closes it, the job ends with exit code 1.",
    )
    for action, work in ((lister, _list), (remove, _remove)):
        add_output(action)
        action.set_defaults(run=work)


def records(*, make: bool = True) -> AlertBook | None:
    """Return the store of alerts, which is kept in the optional database.

    No other function in this module refers to the database.

    Args:
        make: Whether to create missing tables; if False, None is returned if they are missing.

    Raises:
        MissingExtraError: The extra ``db`` is not installed; the error contains the install
            command.
        ConfigError: This installation cannot store alerts.
        DataError: The database cannot be used.
    """
    name = f"{__package__.rpartition('.')[0]}.{RECORDS}"
    try:
        home = import_module(name)
    except ModuleNotFoundError as error:
        if error.name != name:
            raise
        raise ConfigError(
            "this installation cannot store alerts: its database has no alert table"
        ) from None
    book: AlertBook | None = home.alert_records(make=make)
    return book


def _book() -> AlertBook:
    book = records()
    assert book is not None
    return book


# --- make, list, remove --------------------------------------------------------------------


def _add(args: argparse.Namespace) -> Report:
    """Add an alert, and report it if the value is already beyond the threshold.

    Raises:
        QueryError: The alert is invalid, or no vendor serves the bars that it needs.
    """
    from ..jobs.populate import job_services

    book, services = _book(), job_services(args.cache_dir, args.config)
    now_ms = services.clock.now_ms()
    options = {each.keys[0]: getattr(args, _flag(each)) for each in KINDS.values() if each.option}
    alert_type = kind_of({key for key, value in options.items() if value})
    config, rearm = _config(args, alert_type, options), _rearm(args, alert_type)
    draft = Alert.parse(config, id=0, recipient=LOCAL, since_ms=now_ms, rearm=rearm)
    if draft.is_of_all:
        alert = book.add_alert(LOCAL, config, rearm, now_ms)
        return _addition_report(alert, ())
    symbol = services.client.query(draft.symbol, draft.timeframe, bars=1).instrument.symbol
    config["ticker"] = symbol
    # Checked before it is stored: bars that no vendor serves are rejected.
    checked = Alert.parse(config, id=0, recipient=LOCAL, since_ms=now_ms, rearm=rearm)
    evaluation = _evaluate_first(services, checked, args.timeout)
    alert = book.add_alert(LOCAL, config, rearm, now_ms)
    if evaluation is not None:
        book.store([EvaluatedAlert(alert, None, evaluation.state)])
    return _addition_report(alert, evaluation.events if evaluation is not None else ())


def _evaluate_first(services: Services, alert: Alert, timeout_s: float | None) -> Evaluation | None:
    """Evaluate a new alert and return the result.

    The result is None for a data alert, or if the bars are currently unavailable.

    Raises:
        QueryError: The bars can never be fetched, or the indicator is unknown or can never cross
            the threshold.
    """
    from ..jobs.alert_bars import ClientBars
    from ..jobs.alert_evaluator import bars_needed, evaluate
    from ..jobs.alerts import NoBars, WantedBars
    from ..prices.indicators import parse_indicator

    if isinstance(alert, CrossingAlert):
        parse_indicator(alert.quantity).check_crossing(alert.condition, alert.value)
    needed = bars_needed(StoredAlert(alert, None))
    source = ClientBars(services.client, timeout_s=timeout_s)
    (bars,) = source.read([WantedBars(alert.symbol, alert.timeframe, needed)])
    if isinstance(bars, NoBars):
        if bars.is_lasting:
            raise QueryError(
                f"cannot add an alert on {alert.series}: {bars.reason}", symbol=alert.symbol
            )
        note(f"{alert.series}: {bars.reason}; the alert starts with the first bar")
        return None
    if isinstance(alert, CrossingAlert):
        return evaluate(alert, None, bars, alert.since_ms)
    return None


def _addition_report(alert: Alert, events: tuple[AlertEvent, ...]) -> Report:
    document = {"id": alert.id, **alert.to_json(), "notes": [event.text for event in events]}
    lines = [Line(f"alert {alert.id}: {alert}, until {iso(alert.expires_ms)}")]
    return Report(document, [*lines, *(Line(event.text, "yellow") for event in events)])


def _flag(alert_type: type[Alert]) -> str:
    return f"--{alert_type.keys[0].replace('_', '-')}"


def _flags_of_all() -> str:
    """Return the options whose alerts can be about all series, as text."""
    return listed(
        [_flag(each) for each in KINDS.values() if each.option and each.may_be_of_all], "or"
    )


def _config(
    args: argparse.Namespace, alert_type: type[Alert], options: Mapping[str, Any]
) -> dict[str, Any]:
    """Return the alert's configuration from the arguments.

    - VALUE is the value of the kind's ``threshold``, unless an option gives it.
    - A condition is required if it is a key of the kind, and a symbol unless the alert may be
      about all series.
    - Any other condition, value or option of a kind that is given is an error.

    ``options`` maps the key of each kind's option to the option's value.
    """
    flags = {each.keys[0]: _flag(each) for each in KINDS.values() if each.option}
    names = {"condition": "a condition", "value": "a value", **flags}
    given = {"condition": args.condition, "value": args.value, **options}
    values = {key: given.get(key) for key in alert_type.keys}
    needed = {} if alert_type.may_be_of_all else {"symbol": "a symbol"}
    if "condition" in values:
        needed["condition"] = names["condition"]
    if alert_type.threshold in values and values[alert_type.threshold] is None:
        values[alert_type.threshold] = args.value
        needed["value"] = names["value"]
    others = [key for key in names if key not in values and (key in options or key not in needed)]
    if any(given[key] not in (None, "") for key in others):
        raise QueryError(
            f"{_flag(alert_type)} cannot be combined with {listed([names[key] for key in others], 'or')}",
            hint="omit them",
        )
    if any(getattr(args, name) is None for name in needed):
        raise QueryError(
            f"an alert needs {listed([*needed.values()])}, or {_flags_of_all()}",
            hint="such as `onetape alerts add AAPL above 250 --timeframe 1h`",
        )
    timeframe = None if args.symbol is None else args.timeframe
    shared = {"ticker": args.symbol, "timeframe": timeframe, "expires": args.expires}
    return {key: value for key, value in (shared | values).items() if value is not None}


def _rearm(args: argparse.Namespace, alert_type: type[Alert]) -> dict[str, Any] | None:
    """Return the ``re_arm_config`` from the options, or None if no such option is given."""
    config: dict[str, Any] = {}
    if args.hysteresis is not None:
        is_share = args.hysteresis.endswith("%")
        config["hysteresis"] = args.hysteresis.removesuffix("%")
        config["hysteresis_type"] = "percentage" if is_share else "fixed"
    if args.cooldown is not None:
        config["cooldown_minutes"] = args.cooldown
    if args.persistence is not None:
        config["persistence_bars"] = args.persistence
    if config and not issubclass(alert_type, CrossingAlert):
        raise QueryError(
            f"{_flag(alert_type)} cannot be combined with --hysteresis, --cooldown or --persistence",
            hint="omit them",
        )
    return config or None


def _list(args: argparse.Namespace) -> Report:
    alerts = _book().list_alerts(LOCAL)
    return Report(lambda: [_alert_json(alert) for alert in alerts], lambda: _alerts_shown(alerts))


def _alert_json(listed_alert: ListedAlert) -> dict[str, Any]:
    state = listed_alert.state.to_json() if listed_alert.state is not None else None
    columns = {
        "id": listed_alert.alert.id,
        "active": listed_alert.is_active,
        "reason": listed_alert.reason,
        "state": state,
    }
    return columns | listed_alert.alert.to_json()


def _alerts_shown(alerts: Sequence[ListedAlert]) -> Shown:
    if not alerts:
        yield Line("there are no alerts; `onetape alerts add` creates one")
        return
    rows = []
    for entry in alerts:
        state = entry.state
        phase = (
            (state.phase if state is not None else "new")
            if entry.is_active
            else entry.reason or "done"
        )
        fired = iso(state.fired_ms) if state is not None and state.fired_ms is not None else "-"
        rows.append(
            [str(entry.alert.id), str(entry.alert), phase, fired, iso(entry.alert.expires_ms)]
        )
    yield TextTable(["id#", "alert", "state", "fired?", "expires?"], rows)


def _remove(args: argparse.Namespace) -> Report:
    book = _book()
    removed = [id for id in args.ids if book.remove_alert(LOCAL, id)]
    lacking = [f"there is no alert {id}" for id in args.ids if id not in removed]
    text = f"removed: {counted(len(removed), 'alert')}"
    return Report({"removed": removed}, [Line(text)], errors=lacking, ok=not lacking)


# --- the job -------------------------------------------------------------------------------


def _run(args: argparse.Namespace) -> int:
    """Run the alert job once or repeatedly; messages are printed as they are delivered.

    Returns:
        Exit code: 1 if the reader of the output is gone or, with ``--once``, if bars could not be
        fetched or a delivery failed; otherwise 0.
    """
    output = _Output()
    job = _job(args, output)
    while True:
        began_s, code = time.monotonic(), OK
        with job_signals() as signals:
            try:
                report = job.run()
                code = _print_failures(report, args, output)
            except DataError as error:
                if args.once:
                    raise
                complain_about(error)  # the next run continues
            signals.hold()
        if output.is_gone:
            return FAILED
        if args.once or signals.is_noted:
            return code
        try:
            time.sleep(max(0.0, args.every - (time.monotonic() - began_s)))
        except KeyboardInterrupt:  # the usual way to stop it between two runs
            return OK


class _Output:
    """Standard output, line by line.

    Attributes:
        is_gone: Whether its reader has closed it, so that nothing can ever be printed.
    """

    is_gone = False

    def print(self, text: str) -> str:
        """Print a line at once; return the reason if it cannot be written, else an empty string."""
        error = print_line(text)
        self.is_gone = self.is_gone or isinstance(error, BrokenPipeError)
        return f"the output cannot be written: {error.strerror or error}" if error else ""


def _job(args: argparse.Namespace, output: _Output) -> AlertJob:
    from ..jobs.alert_bars import ClientBars
    from ..jobs.alerts import AlertJob
    from ..jobs.perishable import perishable
    from ..jobs.populate import job_services

    book, services = _book(), job_services(args.cache_dir, args.config)

    def perishing() -> Any:
        """Return the stored series with missing bars that vendors will soon stop serving."""
        listing, store = services.cache.maintenance.listing(), services.cache.store.preview()
        answering, now_ms = services.client.answering, services.clock.now_ms()
        return perishable(listing, answering, services.selector, now_ms, store)

    source = ClientBars(services.client, perishing, args.timeout)
    services.observer.on_event(source.hear)
    deliver = {LOCAL: _delivery(args, services, output)}
    return AlertJob(book, source, deliver, services.clock, None if args.once else args.every)


def _delivery(
    args: argparse.Namespace, services: Services, output: _Output
) -> Callable[[Delivery], Outcome]:
    """Return the function that delivers messages: to the webhook if one is given, else by printing."""
    if args.webhook is not None:
        from ..net.webhook import Webhook

        hook = Webhook(args.webhook, services.clock)
        return lambda delivery: hook.post(delivery.to_json())

    def print_message(delivery: Delivery) -> Outcome:
        """Print a message, and return the outcome: ``later`` if the output cannot be written."""
        problem = output.print(json.dumps(delivery.to_json()) if args.json else delivery.text)
        return Outcome("later", problem) if problem else Outcome("sent", "printed")

    return print_message


def _print_failures(report: RunReport, args: argparse.Namespace, output: _Output) -> int:
    """Print one run's failures (after its JSON report, if requested), and return the exit code."""
    problem = output.print(json.dumps({"run": report.to_json()})) if args.json else ""
    if problem:
        note(problem)
    for series, reason in report.failed.items():
        note(f"{series}: {reason}")
    for status, count in report.deliveries.items():
        if status != "sent":
            note(f"{counted(count, 'attempt')} to deliver ended as {status}")
    return OK if report.ok and not problem else FAILED
