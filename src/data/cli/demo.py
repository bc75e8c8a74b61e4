"""``onetape demo``: shows how bars are fetched and cached, even without a network or keys."""

from __future__ import annotations

import argparse
import time
import warnings
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from functools import partial
from typing import TYPE_CHECKING, Any, NamedTuple

from ..bars.client import Wishes
from ..errors import DataError, IncompleteDataWarning, install_line
from ..jobs.vendors import VendorRole, vendor_roles
from ..model.instant import DAY_MS, date_of
from ..model.texts import by_reason, telling
from .answers import attempts_shown, bars_shown, gaps_shown, headline
from .arguments import add_timeout, command
from .output import complain, print_json
from .report import FAILED, OK, Line, Shown, show
from .tables import Cell, TextTable, counted, findings, milliseconds, moment, styled

if TYPE_CHECKING:
    from pathlib import Path

    import pandas as pd
    from rich.console import RenderableType

    from ..net.reach import ReachResult
    from ..wiring import Services

_ROWS = 6
_DAYS = 30
LIVE = (("BTCUSDT", "1h"), ("AAPL", "1d"))
_SAMPLES = (
    "Real daily bars from 2000 to 2013 (extra `demo`), served by the vendor `demo` because the call "
    'names it:\nprovider="demo". They are never used for anything else.'
)
_MARKS = {"asked": ("●", "green"), "substitute": ("○", "yellow"), "not asked": ("·", "dim")}


class DemoQuestion(NamedTuple):
    """A query for the demonstration.

    Attributes:
        start, end: Session dates, both inclusive.
        provider, adjustment: As for the data manager.
    """

    symbol: str
    timeframe: str
    start: str
    end: str
    provider: str | None = None
    adjustment: str = "split"


# A year of sample bars, requested from their vendor by name, because nothing else returns them.
SAMPLE_QUESTION = DemoQuestion("AAPL", "1d", "2012-01-01", "2012-12-31", "demo")


class DemoAnswer(NamedTuple):
    """The result of one query that was sent twice.

    Attributes:
        question: Query that was sent.
        roles: Vendors in the order in which they are queried, then the others with the reasons.
        frame: Bars, or None if there are none.
        seconds: Duration of the first call and of the second.
        error: Reason why there are no bars.
    """

    question: DemoQuestion
    roles: tuple[VendorRole, ...] = ()
    frame: pd.DataFrame | None = None
    seconds: tuple[float, float] = (0.0, 0.0)
    error: DataError | None = None


def configure(parser: argparse.ArgumentParser) -> None:
    """Add the command's options to its parser."""
    parser.add_argument("--offline", action="store_true", help="run as if there were no network")
    add_timeout(parser)
    command(parser, run)


def run(args: argparse.Namespace) -> int:
    """Show the demonstration; return 1 if neither a network nor sample bars are available."""
    from ..net.retry import RetryPolicy
    from ..wiring import build

    with _cache_folder(args) as folder:
        # Only one retry, after a short time, because a user is waiting.
        services = build(folder, args.config, retry=RetryPolicy(attempts=2, first_s=0.3))
        keep = "" if args.cache_dir else " (deleted afterwards; --cache-dir keeps it)"
        _show(
            args,
            styled("onetape: market data behind one call", "bold"),
            styled(f"cache: {services.settings.cache_dir}{keep}", "dim"),
        )
        reached = {} if args.offline else _reached(services)
        _network_shown(args, reached)
        now_ms = services.clock.now_ms()
        start, end = (date_of(ms).isoformat() for ms in (now_ms - _DAYS * DAY_MS, now_ms))
        live = [DemoQuestion(*series, start, end) for series in LIVE if _any_reached(reached)]
        answers = [_shown_answer(args, services, question) for question in live]
        if not any(answer.frame is not None for answer in answers):
            _title(args, "without a network")
            _show(args, _SAMPLES)
            answers.append(_shown_answer(args, services, SAMPLE_QUESTION))
        if args.json:
            _print_document(reached, answers)
    if all(answer.frame is None for answer in answers):
        hint = f"{install_line('demo')} installs real sample bars that need no network"
        complain("no vendor could be reached, and the sample bars are not installed", [hint])
        return FAILED
    _show(args, "", styled("next: onetape fetch AAPL 1d · onetape doctor", "dim"))
    return OK


def ask(services: Services, question: DemoQuestion, timeout: float | None = None) -> DemoAnswer:
    """Send a query twice and time both calls; a failure is returned rather than raised."""
    wishes = Wishes(question.provider, question.adjustment, timeout=timeout)
    client, words = services.client, (question.symbol, question.timeframe)
    query = partial(client.query, *words, question.start, question.end, wishes=wishes)
    roles = tuple(vendor_roles(services.selector, query()))
    seconds, frame = list[float](), None
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", IncompleteDataWarning)
            for _ in range(2):
                started = time.perf_counter()
                bars = client.get(query())
                seconds.append(time.perf_counter() - started)
                frame = bars if frame is None else frame
    except DataError as error:
        return DemoAnswer(question, roles, error=error)
    return DemoAnswer(question, roles, frame, (seconds[0], seconds[1]))


def _reached(services: Services) -> dict[str, ReachResult]:
    """Return whether each usable vendor with a network address can be reached."""
    from ..net.reach import reach_all

    selector = services.selector
    made = {name: selector._initialize_downloader(name) for name in selector.provider_names()}
    urls = {name: str(vendor.base_url) for name, vendor in made.items() if vendor is not None}
    return reach_all({name: url for name, url in urls.items() if url.startswith("http")})


def _role_lines(
    roles: Sequence[VendorRole], *, is_lacking: bool
) -> Iterator[tuple[Cell, str, Sequence[Cell]]]:
    """Yield a line for each vendor; vendors that are skipped for the same reason share a line.

    Args:
        roles: Each vendor with its role for the query.
        is_lacking: Whether the answer has gaps. If not, missing keys are not mentioned.
    """
    others = {role.vendor: role.why for role in roles if role.role == "not asked"}
    others = telling(others, is_lacking=is_lacking)
    for role in roles:
        if role.role != "not asked":
            mark, style = _MARKS[role.role]
            text = role.role + (f": {role.why}" if role.why else "")
            yield styled(mark, style), role.vendor, [styled(text, style)]
    mark, style = _MARKS["not asked"]
    for group in by_reason(others):
        names, _, reason = group.partition(": ")
        texts = [styled(f"not asked: {reason}", style)]
        several = names.count(", ") + 1
        if several > 1:
            yield styled(mark, style), f"{several} vendors", [*texts, styled(names, style)]
        else:
            yield styled(mark, style), names, texts


def _any_reached(reached: dict[str, ReachResult]) -> bool:
    return any(answer.ok for answer in reached.values())


@contextmanager
def _cache_folder(args: argparse.Namespace) -> Iterator[str | Path]:
    """Yield the cache folder from the options, or a temporary folder if none was given."""
    from ..disk.scratch import scratch_folder

    if args.cache_dir:
        yield args.cache_dir
        return
    with scratch_folder("onetape-demo-") as folder:
        yield folder


def _show(args: argparse.Namespace, *items: RenderableType | Line) -> None:
    """Print parts of the demonstration while it is running, unless JSON is printed at the end."""
    if not args.json:
        show(items)


def _title(args: argparse.Namespace, text: str) -> None:
    from rich.rule import Rule

    _show(args, "", Rule(styled(text, "bold"), align="left", style="dim"))


def _network_shown(args: argparse.Namespace, reached: dict[str, ReachResult]) -> None:
    """Print whether each vendor can be reached."""
    _title(args, "network")
    if args.offline:
        _show(args, "not tested, because of --offline")
        return
    rows = [
        (styled("✓", "green"), name, [f"reached in {milliseconds(answer.seconds)}"])
        if answer.ok
        else (styled("✗", "red"), name, [answer.refusal])
        for name, answer in reached.items()
    ]
    _show(args, findings(rows))
    if not _any_reached(reached):
        _show(args, "no vendor can be reached from this machine")


def _shown_answer(
    args: argparse.Namespace, services: Services, question: DemoQuestion
) -> DemoAnswer:
    """Send one query and show its vendors, the bars or attempts, and the duration of a second call."""
    answer = ask(services, question, args.timeout)
    _title(args, f"{question.symbol} {question.timeframe}  {question.start} → {question.end}")
    is_lacking = answer.frame is None or not answer.frame.attrs["onetape"]["complete"]
    _show(args, findings([*_role_lines(answer.roles, is_lacking=is_lacking)]), "")
    _show(args, *(_failure_shown(answer) if answer.frame is None else _bars_shown(answer)))
    return answer


def _print_document(reached: dict[str, ReachResult], answers: Sequence[DemoAnswer]) -> None:
    print_json(
        {
            "network": {name: vars(result) | {"ok": result.ok} for name, result in reached.items()},
            "answers": [_answer(answer) for answer in answers],
            "summary": counted(sum(answer.frame is not None for answer in answers), "answer"),
        }
    )


def _failure_shown(answer: DemoAnswer) -> Shown:
    attempts = getattr(answer.error, "attempts", ())
    for attempt in attempts:
        yield styled(f"{attempt} ({milliseconds(attempt.seconds)})", "yellow")
    if not attempts:
        yield styled(str(answer.error), "yellow")


def _bars_shown(answer: DemoAnswer) -> Shown:
    assert answer.frame is not None
    provenance = answer.frame.attrs["onetape"]
    yield headline(provenance, answer.seconds[0])
    yield from attempts_shown(provenance)
    yield ""
    yield from bars_shown(answer.frame, _ROWS)
    yield ""
    yield _spans(provenance, is_sample=answer.question.provider == "demo")
    yield from gaps_shown(provenance)
    first, second = answer.seconds
    again = f"the same call again: {milliseconds(second)} from the cache, no request"
    ratio = f" · {first / second:,.0f} times as fast" if second > 0 else ""
    yield styled(again + ratio, "bold green")


def _spans(provenance: dict[str, Any], *, is_sample: bool) -> TextTable:
    """Return a table of the bars' origins, span by span, as recorded in every frame."""
    what = ": sample bars" if is_sample else ""
    rows = [
        [
            s["vendor"] + what,
            moment(s["start"]),
            moment(s["end"]),
            f"{s['rows']:,}",
            s["state"],
            s["basis"]["adjustment"],
            provenance["lane"],
            moment(s["fetched_at"]),
        ]
        for s in provenance["spans"]
    ]
    names = ["provenance", "from", "up to", "bars#", "state", "stored as?", "lane?", "fetched?"]
    return TextTable(names, rows)


def _answer(answer: DemoAnswer) -> dict[str, Any]:
    first, second = answer.seconds
    return {
        "question": answer.question._asdict(),
        "route": [role._asdict() for role in answer.roles],
        "provenance": None if answer.frame is None else answer.frame.attrs["onetape"],
        "first_ms": round(first * 1000, 3),
        "second_ms": round(second * 1000, 3),
        "ratio": round(first / second, 1) if second else None,
        "error": str(answer.error) if answer.error else None,
    }
