"""``onetape alerts``: adds, lists and removes alerts, and runs the job that sends their messages."""

from __future__ import annotations

import argparse
import json
import time
from functools import partial
from typing import TYPE_CHECKING

from ..core.model.request.outcome import Outcome
from ..core.model.time.instant import iso
from ..core.net.http.webhook import Webhook
from ..errors import DataError
from ..jobs.alerting.bars import read_bars
from ..jobs.alerting.job import AlertJob, Message, RunReport
from ..jobs.alerting.state import AlertState
from ..jobs.alerting.types import CONDITIONS, LOCAL, TYPES, Alert, bars_needed, evaluate
from ..jobs.run.signals import job_signals
from .arguments import Actions, add_timeout, every, option, positive
from .output import complain_about, note, print_line
from .result import FAILED, OK, Line, Report
from .tables import counted

if TYPE_CHECKING:
    from ..core.wiring import Services
    from ..db.alert_records import StoredAlerts

EXAMPLES = ("alerts add AAPL above 250 --timeframe 1h", "alerts run --every 1m")


def configure(parser: argparse.ArgumentParser) -> None:
    """Add the command's actions to its parser."""
    actions = Actions(parser)
    add = actions.add(_add, "An alert fires once; one on a data problem reports each new problem.")
    option(add, "symbol", "such as AAPL")
    option(add, "condition? CONDITION", " or ".join(CONDITIONS))
    option(add, "value? VALUE", "a price, or a value of --indicator")
    option(add, "--timeframe TIMEFRAME", "timeframe of the bars (default 15m)", default="15m")
    what = add.add_mutually_exclusive_group()
    for type in TYPES.values():
        if type.option:
            option(what, *type.option)
    actions.add(_list, has_cache=False)
    remove = actions.add(_remove, has_cache=False)
    option(remove, "ids+ ID", "an id from `onetape alerts list`", type=positive)
    job = actions.add(
        _run,
        "Exit code of --once: 1 if bars or messages failed. The next run tries again. "
        "If the output cannot be written, the job ends with exit code 1.",
    )
    when = job.add_mutually_exclusive_group(required=True)
    option(when, "--once", "run once, for cron or a timer")
    text = "repeat at this interval, such as 1m, until Ctrl-C or SIGTERM"
    option(when, "--every TIME", text, type=every)
    option(job, "--webhook URL", "post messages to this URL; default: print them here")
    add_timeout(add)
    add_timeout(job)


def _records() -> StoredAlerts:
    """Return the store of alerts.

    Raises:
        MissingExtraError: The extra ``db`` is not installed.
        DataError: The database cannot be used.
    """
    from ..db.alert_records import StoredAlerts

    return StoredAlerts()


def _services(args: argparse.Namespace) -> Services:
    from ..jobs.fill.populate import job_services

    return job_services(args.cache_dir, args.config)


def _add(args: argparse.Namespace) -> Report:
    """Add an alert on closed bars of a series, or on its data.

    Its bars must be readable now. The report shows if the value is already beyond the threshold.

    Raises:
        QueryError: The alert is invalid.
        DataError: Its bars cannot be read.
    """
    own = {type.keys[0]: getattr(args, type.keys[0]) for type in TYPES.values() if type.option}
    value = {"price" if set(own.values()) == {None} else "value": args.value}
    shared = {"ticker": args.symbol, "timeframe": args.timeframe, "condition": args.condition}
    config = {key: given for key, given in (shared | value | own).items() if given is not None}
    records, services = _records(), _services(args)
    now_ms = services.clock.now_ms()
    draft = Alert.parse(config, since_ms=now_ms)
    draft.check()
    count = bars_needed(draft, AlertState(), now_ms)
    wanted = [(draft.symbol, draft.timeframe, count)]
    query = services.client.query(draft.symbol, draft.timeframe, bars=1)
    (bars,) = read_bars(services.client, wanted, args.timeout)
    if isinstance(bars, str):
        raise DataError(f"cannot add an alert on {draft.series}: {bars}", symbol=draft.symbol)
    alert = records.add_alert(LOCAL, config | {"ticker": query.instrument.symbol}, now_ms)
    lines = [Line(f"alert {alert.id}: {alert}")]
    is_beyond = evaluate(alert, AlertState(), bars, now_ms).is_beyond
    if is_beyond:
        text = f"already {TYPES[alert.type].beyond(alert)}"
        lines.append(
            Line(f"{text}: it fires once the value has moved back and crosses again", "yellow")
        )
    return Report({"id": alert.id, **alert.to_json(), "is_beyond": is_beyond}, lines)


def _list(args: argparse.Namespace) -> Report:
    """List the alerts of this machine, with their state."""
    rows = []
    for alert, state in _records().list_alerts(LOCAL):
        fired = None if state.fired_ms is None else iso(state.fired_ms)
        facts = {"id": alert.id, "alert": str(alert), "state": state.phase, "fired": fired}
        rows.append(facts | alert.to_json())
    return Report.rows(
        rows,
        "id# alert state fired?",
        empty="there are no alerts; `onetape alerts add` creates one",
    )


def _remove(args: argparse.Namespace) -> Report:
    """Delete alerts."""
    records = _records()
    removed = [id for id in args.ids if records.remove_alert(LOCAL, id)]
    lacking = [f"there is no alert {id}" for id in args.ids if id not in removed]
    text = f"removed: {counted(len(removed), 'alert')}"
    return Report({"removed": removed}, [Line(text)], errors=lacking, ok=not lacking)


def _run(args: argparse.Namespace) -> int:
    """Evaluate all alerts and send the messages of this machine.

    Messages are printed as they are delivered.

    Returns:
        Exit code: 1 if a message cannot be printed or, with ``--once``, if bars could not be fetched or
        a message was not accepted; otherwise 0.
    """
    services = _services(args)
    hook = None if args.webhook is None else Webhook(args.webhook, services.clock)
    read = partial(read_bars, services.client, timeout_s=args.timeout)
    deliver = partial(_deliver, hook, args.json)
    job = AlertJob(_records(), read, {LOCAL: deliver}, services.clock)
    while True:
        report = RunReport()
        with job_signals() as signals:
            try:
                report = job.run()
            except DataError as error:
                if args.once:
                    raise
                complain_about(error)  # the next run continues
            signals.hold()
        for name, reason in report.failed.items():
            note(f"{name}: {reason}")
        cannot_print = hook is None and report.deliveries["later"] > 0
        if args.once or cannot_print or signals.is_noted:
            return FAILED if cannot_print or (args.once and report.failed) else OK
        try:
            time.sleep(args.every)
        except KeyboardInterrupt:  # the usual way to stop it between two runs
            return OK


def _deliver(hook: Webhook | None, as_json: bool, message: Message) -> Outcome:
    """Post a message to the webhook, or print it at once; return the outcome."""
    if hook is not None:
        return hook.post(message._asdict())
    error = print_line(json.dumps(message._asdict()) if as_json else message.text)
    if error is None:
        return Outcome("sent", "printed")
    return Outcome("later", f"the output cannot be written: {error.strerror or error}")
