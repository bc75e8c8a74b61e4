"""``onetape prove``: the promises of the README, tested on this machine without a network."""

from __future__ import annotations

import argparse
import time
from contextlib import closing
from typing import TYPE_CHECKING

from .arguments import add_output
from .output import complain, note, print_json
from .report import FAILED, OK, Line, show
from .tables import counted, findings, styled

if TYPE_CHECKING:
    from ..prove.run import PromiseVerdict
    from .tables import Cell

# The exit code of a program that Ctrl-C has ended.
_INTERRUPTED = 130


def configure(parser: argparse.ArgumentParser) -> None:
    """Add the command's options to its parser."""
    from ..prove.run import NAMES

    parser.add_argument(
        "--only",
        action="append",
        choices=NAMES,
        metavar="NAME",
        default=[],
        help=f"test only this promise; can be repeated: {', '.join(NAMES)}",
    )
    add_output(parser)
    parser.set_defaults(run=run)


def run(args: argparse.Namespace) -> int:
    """Test the promises in the README; return 1 if any is broken, and 130 after Ctrl-C."""
    from ..config.isolated import promise_to_break
    from ..prove.run import NAMES, verdicts

    broken_on_purpose, begun = promise_to_break(NAMES), time.monotonic()
    results: list[PromiseVerdict] = []
    try:
        with closing(verdicts(args.only, broken_on_purpose)) as proofs:
            for verdict in proofs:
                results.append(verdict)
                if not args.json:
                    show([findings([_line(verdict)], max(map(len, NAMES)))])
    except KeyboardInterrupt:
        complain("interrupted; the temporary folder is removed")
        return _INTERRUPTED
    seconds = time.monotonic() - begun
    broken = [result for result in results if not result.is_kept]
    summary = f"{counted(len(results) - len(broken), 'promise')} kept, {len(broken)} broken"
    if args.json:
        print_json(
            {
                "promises": [result.to_json() for result in results],
                "broken_on_purpose": broken_on_purpose or None,
                "seconds": round(seconds, 1),
                "summary": summary,
            }
        )
    else:
        style = "bold red" if broken else "bold green"
        show([Line(f"{summary}, in {seconds:,.0f} s", style)])
    if broken_on_purpose:
        note(f"broken on purpose, because ONETAPE_PROVE_BREAK is {broken_on_purpose}")
    return FAILED if broken else OK


def _line(verdict: PromiseVerdict) -> tuple[Cell, str, list[Cell]]:
    mark = styled("✓", "green") if verdict.is_kept else styled("✗", "red")
    text = f"{'kept' if verdict.is_kept else 'broken'}: {verdict.promise}"
    return mark, verdict.name, [f"{text} — {verdict.brief}"]
