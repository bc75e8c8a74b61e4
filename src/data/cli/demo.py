"""``onetape demo``: shows how bars are fetched and cached, even without a network or keys."""

from __future__ import annotations

import argparse
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

from ..errors import install_line
from ..model.texts import by_reason, telling
from .answers import attempts_shown, bars_shown, gaps_shown, headline
from .arguments import add_timeout, command
from .output import complain, print_json
from .report import FAILED, OK, Line, Shown, show
from .tables import Cell, TextTable, counted, findings, milliseconds, moment, styled

if TYPE_CHECKING:
    from pathlib import Path

    from rich.console import RenderableType

    from ..jobs.showcase import DemoAnswer, Showcase
    from ..jobs.vendors import VendorRole
    from ..net.reach import ReachResult

_ROWS = 6
_MARKS = {"asked": ("●", "green"), "substitute": ("○", "yellow"), "not asked": ("·", "dim")}


def configure(parser: argparse.ArgumentParser) -> None:
    """Add the command's options to its parser."""
    parser.add_argument("--offline", action="store_true", help="run as if there were no network")
    add_timeout(parser)
    command(parser, run)


def run(args: argparse.Namespace) -> int:
    """Show the demonstration; return 1 if neither a network nor sample bars are available."""
    from ..jobs.showcase import SAMPLE_QUESTION, Showcase

    tell = _Reporter(args)
    with _cache_folder(args) as folder:
        case = Showcase(folder, args.config, args.timeout)
        tell.opening(case, is_temporary=not args.cache_dir)
        reached = {} if args.offline else case.reached()
        tell.network(reached)
        answers = [case.ask(q) for q in case.live_questions()] if _any_reached(reached) else []
        for answer in answers:
            tell.answer(answer)
        if not any(answer.frame is not None for answer in answers):
            tell.samples()
            answers.append(case.ask(SAMPLE_QUESTION))
            tell.answer(answers[-1])
        tell.closing(answers)
    return OK if any(answer.frame is not None for answer in answers) else FAILED


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


class _Reporter:
    """Prints the demonstration as text while it is running, or as JSON at the end."""

    def __init__(self, args: argparse.Namespace) -> None:
        self._as_json = bool(args.json)
        self._offline = bool(args.offline)
        self._reached: dict[str, ReachResult] = {}

    def _show(self, *items: RenderableType | Line) -> None:
        if not self._as_json:
            show(items)

    def _title(self, text: str) -> None:
        from rich.rule import Rule

        self._show("", Rule(styled(text, "bold"), align="left", style="dim"))

    def opening(self, case: Showcase, *, is_temporary: bool) -> None:
        """Print the title of the demonstration and the folder in which its bars are stored."""
        keep = " (deleted afterwards; --cache-dir keeps it)" if is_temporary else ""
        self._show(
            styled("onetape: market data behind one call", "bold"),
            styled(f"cache: {case.cache_dir}{keep}", "dim"),
        )

    def network(self, reached: dict[str, ReachResult]) -> None:
        """Print whether each vendor can be reached."""
        self._reached = reached
        self._title("network")
        if self._offline:
            self._show("not tested, because of --offline")
            return
        rows = [
            (styled("✓", "green"), name, [f"reached in {milliseconds(answer.seconds)}"])
            if answer.ok
            else (styled("✗", "red"), name, [answer.refusal])
            for name, answer in reached.items()
        ]
        self._show(findings(rows))
        if not _any_reached(reached):
            self._show("no vendor can be reached from this machine")

    def samples(self) -> None:
        """Print a note that sample bars follow, with instructions for requesting them."""
        self._title("without a network")
        self._show(
            "Real daily bars from 2000 to 2013 (extra `demo`), served by the vendor `demo` "
            'because the call names it:\nprovider="demo". They are never used for '
            "anything else."
        )

    def answer(self, answer: DemoAnswer) -> None:
        """Show one query: its vendors, the attempts, the bars, and the duration of a second call."""
        question = answer.question
        self._title(f"{question.symbol} {question.timeframe}  {question.start} → {question.end}")
        is_lacking = answer.frame is None or not answer.frame.attrs["onetape"]["complete"]
        self._show(findings([*_role_lines(answer.roles, is_lacking=is_lacking)]), "")
        self._show(*(_failure_shown(answer) if answer.frame is None else _bars_shown(answer)))

    def closing(self, answers: list[DemoAnswer]) -> None:
        """Print the JSON if requested, or an error if nothing could be shown."""
        if self._as_json:
            print_json(
                {
                    "network": {
                        n: vars(reached) | {"ok": reached.ok}
                        for n, reached in self._reached.items()
                    },
                    "answers": [_answer(answer) for answer in answers],
                    "summary": counted(
                        sum(answer.frame is not None for answer in answers), "answer"
                    ),
                }
            )
        if all(answer.frame is None for answer in answers):
            hint = f"{install_line('demo')} installs real sample bars that need no network"
            complain("no vendor could be reached, and the sample bars are not installed", [hint])
        else:
            self._show("", styled("next: onetape fetch AAPL 1d · onetape doctor", "dim"))


def _failure_shown(answer: DemoAnswer) -> Shown:
    for attempt in answer.attempts:
        yield styled(f"{attempt} ({milliseconds(attempt.seconds)})", "yellow")
    if not answer.attempts:
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
        "question": vars(answer.question),
        "route": [role._asdict() for role in answer.roles],
        "provenance": None if answer.frame is None else answer.frame.attrs["onetape"],
        "first_ms": round(first * 1000, 3),
        "second_ms": round(second * 1000, 3),
        "ratio": round(first / second, 1) if second else None,
        "error": str(answer.error) if answer.error else None,
    }
