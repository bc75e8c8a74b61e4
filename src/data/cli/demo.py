"""``onetape demo``: shows how bars are fetched and cached, even without a network or keys."""

from __future__ import annotations

import argparse
import time
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any, NamedTuple

from ..core.bars.client import Wishes
from ..core.model.time.instant import DAY_MS, date_of
from ..errors import DataError, IncompleteDataWarning, install_line
from .arguments import add_timeout, command, option
from .fetch import frame_shown
from .output import complain, print_json
from .result import FAILED, OK, Shown, show
from .tables import counted, facts, milliseconds, styled

if TYPE_CHECKING:
    from pathlib import Path

    import pandas as pd

    from ..core.interface import ReachResult
    from ..core.model.request.explanation import Explanation
    from ..core.wiring import Services

EXAMPLES = ("demo", "demo --offline")

_ROWS = 6
_DAYS = 30
_LIVE = (("BTCUSDT", "1h"), ("AAPL", "1d"))
_SAMPLES = (
    "Real daily bars from 2000 to 2013 (extra `demo`), served by the vendor `demo` because the call "
    'names it:\nprovider="demo". They are never used for anything else.'
)


class DemoQuestion(NamedTuple):
    """A query for the demonstration.

    Attributes:
        start, end: Session dates, both inclusive.
        provider: As for the data manager.
    """

    symbol: str
    timeframe: str
    start: str
    end: str
    provider: str | None = None


# A year of sample bars, requested from their vendor by name, because nothing else returns them.
SAMPLE_QUESTION = DemoQuestion("AAPL", "1d", "2012-01-01", "2012-12-31", "demo")


class DemoAnswer(NamedTuple):
    """The result of one query that was sent twice.

    Attributes:
        question: Query that was sent.
        explanation: Vendors in the order in which they are queried, and why others are not.
        frame: Bars, or None if there are none.
        seconds: Duration of each call.
        error: Reason why there are no bars.
    """

    question: DemoQuestion
    explanation: Explanation
    frame: pd.DataFrame | None
    seconds: list[float]
    error: DataError | None = None

    def to_json(self) -> dict[str, Any]:
        """Return the answer as a JSON-serializable dictionary."""
        return {
            "question": self.question,
            "explanation": self.explanation,
            "provenance": None if self.frame is None else self.frame.attrs["onetape"],
            "ms": [round(seconds * 1000, 3) for seconds in self.seconds],
            "error": str(self.error) if self.error else None,
        }

    def shown(self) -> Shown:
        """Yield the vendors, then the bars and how long both calls took, or the failures."""
        name = f"{self.question.symbol} {self.question.timeframe}"
        yield from _title(f"{name}  {self.question.start} → {self.question.end}")
        # Without gaps, it does not matter which vendors lack a key.
        is_whole = self.frame is not None and self.frame.attrs["onetape"]["complete"]
        left_out = {"instrument", "cached", "not asked" if is_whole else ""}
        yield facts([line for line in self.explanation.lines() if line[0] not in left_out], {})
        yield ""
        if self.frame is None:
            for attempt in getattr(self.error, "attempts", ()) or [self.error]:
                yield styled(str(attempt), "yellow")
            return
        yield from frame_shown(self.frame, [], _ROWS, self.seconds[0])
        first, second = self.seconds
        again = f"the same call again: {milliseconds(second)} from the cache, no request"
        ratio = f" · {first / second:,.0f} times as fast" if second > 0 else ""
        yield styled(again + ratio, "bold green")


def configure(parser: argparse.ArgumentParser) -> None:
    """Add the command's options to its parser."""
    option(parser, "--offline", "run as if there were no network")
    add_timeout(parser)
    command(parser, run)


def run(args: argparse.Namespace) -> int:
    """Show the demonstration; return 1 if neither a network nor sample bars are available."""
    from ..core.interface import RetryPolicy
    from ..core.wiring import build

    with _cache_folder(args) as folder:
        # Only one retry, after a short time, because a user is waiting.
        services = build(folder, args.config, retry=RetryPolicy(attempts=2, first_s=0.3))
        keep = "" if args.cache_dir else " (deleted afterwards; --cache-dir keeps it)"
        _print(args, [styled("onetape: market data behind one call", "bold")])
        _print(args, [styled(f"cache: {services.settings.cache_dir}{keep}", "dim")])
        reached = {} if args.offline else _reached(services)
        _print(args, _network_shown(args, reached))
        now_ms = services.clock.now_ms()
        start, end = (date_of(ms).isoformat() for ms in (now_ms - _DAYS * DAY_MS, now_ms))
        is_online = any(result.ok for result in reached.values())
        answers = []
        for question in [DemoQuestion(*series, start, end) for series in _LIVE if is_online]:
            answers.append(ask(services, question, args.timeout))
            _print(args, answers[-1].shown())
        if all(answer.frame is None for answer in answers):
            _print(args, [*_title("without a network"), _SAMPLES])
            answers.append(ask(services, SAMPLE_QUESTION, args.timeout))
            _print(args, answers[-1].shown())
    if args.json:
        network = {name: vars(result) | {"ok": result.ok} for name, result in reached.items()}
        good = sum(answer.frame is not None for answer in answers)
        print_json({"network": network, "answers": answers, "summary": counted(good, "answer")})
    if all(answer.frame is None for answer in answers):
        hint = f"{install_line('demo')} installs real sample bars that need no network"
        complain("no vendor could be reached, and the sample bars are not installed", [hint])
        return FAILED
    last = answers[-1].question
    sample = f" --provider {last.provider} --end {last.end}"
    fetch = f"onetape fetch {last.symbol} {last.timeframe}{sample if last.provider else ''}"
    _print(args, ["", styled(f"next: {fetch} · onetape doctor", "dim")])
    return OK


def ask(services: Services, question: DemoQuestion, timeout: float | None = None) -> DemoAnswer:
    """Send a query twice and time both calls; a failure is returned rather than raised."""
    client, wishes = services.client, Wishes(provider=question.provider, timeout=timeout)

    def query() -> Any:
        """Return the query; its time is that of the call."""
        return client.query(*question[:4], wishes=wishes)

    explanation = client.explain(query())
    seconds: list[float] = []
    frames = []
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", IncompleteDataWarning)
            for _ in range(2):
                started = time.perf_counter()
                frames.append(client.get(query()))
                seconds.append(time.perf_counter() - started)
    except DataError as error:
        return DemoAnswer(question, explanation, None, seconds, error)
    return DemoAnswer(question, explanation, frames[0], seconds)


def _reached(services: Services) -> dict[str, ReachResult]:
    """Return whether each usable vendor with a network address can be reached."""
    from ..core.interface import reach_all

    selector = services.selector
    made = {name: selector.downloader(name) for name in selector.provider_names()}
    urls = {name: str(vendor.base_url) for name, vendor in made.items() if vendor is not None}
    return reach_all({name: url for name, url in urls.items() if url.startswith("http")})


@contextmanager
def _cache_folder(args: argparse.Namespace) -> Iterator[str | Path]:
    """Yield the cache folder from the options, or a temporary folder if none was given."""
    from ..core.disk.scratch import scratch_folder

    if args.cache_dir:
        yield args.cache_dir
        return
    with scratch_folder("onetape-demo-") as folder:
        yield folder


def _print(args: argparse.Namespace, items: Shown) -> None:
    """Print parts of the demonstration while it is running, unless JSON is printed at the end."""
    if not args.json:
        show(items)


def _title(text: str) -> Shown:
    from rich.rule import Rule

    yield ""
    yield Rule(styled(text, "bold"), align="left", style="dim")


def _network_shown(args: argparse.Namespace, reached: dict[str, ReachResult]) -> Shown:
    """Yield whether each vendor can be reached."""
    yield from _title("network")
    if args.offline:
        yield "not tested, because of --offline"
        return
    rows = [
        (name, f"reached in {milliseconds(one.seconds)}" if one.ok else one.refusal)
        for name, one in reached.items()
    ]
    yield facts(rows, {name: "" if one.ok else "red" for name, one in reached.items()})
    if not any(one.ok for one in reached.values()):
        yield "no vendor can be reached from this machine"
