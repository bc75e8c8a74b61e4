"""The older tools ``validate_gaps`` and ``fill_gaps`` as commands."""

from __future__ import annotations

import argparse
from collections.abc import Callable, Sequence
from typing import Any

from ...cli.arguments import command, listed
from ...cli.cached import check_folder
from ...cli.execution import guarded
from ...cli.parser import Parser
from ...cli.result import Line, Report, Shown, present
from ...cli.tables import counted
from ...errors import QueryError
from ...jobs.run.signals import job_signals
from .gap_files import FILE, fill_gaps, validate_gaps


def main_validate(argv: Sequence[str] | None = None) -> int:
    """Run ``validate_gaps`` as a command, and return its exit code.

    The code is 0 if the file was written, 1 if it was not, and 2 for invalid options.
    """
    what = "Write the gaps of the cache to validate-metadata.json."
    parser = _parser("validate_gaps", what, _validate)
    parser.add_argument("--validate-all", action="store_true", help="all series; the default")
    return guarded(parser.parse_args(argv))


def main_fill(argv: Sequence[str] | None = None) -> int:
    """Run ``fill_gaps`` as a command, and return its exit code.

    The code is 0 if vendors answered, 1 if they failed, and 2 if the file is missing.
    """
    parser = _parser("fill_gaps", "Ask vendors for the gaps in validate-metadata.json.", _fill)
    parser.add_argument(
        "--max-gap-hours", type=float, default=24.0, help="skip longer gaps; default: 24"
    )
    return guarded(parser.parse_args(argv))


def _parser(name: str, what: str, run: Callable[[argparse.Namespace], Report | int]) -> Parser:
    parser = Parser(prog=name, description=what)
    parser.add_argument("--symbols", type=listed, metavar="A,B", help="default: all")
    parser.add_argument("--intervals", type=listed, metavar="1h,1d", help="default: all")
    command(parser, run)
    return parser


def _validate(args: argparse.Namespace) -> Report:
    check_folder(args)
    symbols, intervals = (None, None) if args.validate_all else (args.symbols, args.intervals)
    document = validate_gaps(symbols, intervals, args.cache_dir, config_path=args.config)
    return Report(document, _validated_shown(document))


def _validated_shown(document: dict[str, Any]) -> Shown:
    for name, result in document["detailed_results"].items():
        gaps = counted(result["gap_summary"]["total_gaps"], "gap")
        yield Line(f"{name}: {result['overall_status']}, {gaps}")
    summary = document["validation_summary"]
    counts = ", ".join(f"{name} {summary[name]}" for name in ("valid", "invalid", "missing"))
    yield Line(f"{counts}; written to {FILE} in the cache folder")


def _fill(args: argparse.Namespace) -> int:
    check_folder(args)
    if args.max_gap_hours < 0:
        raise QueryError(
            "--max-gap-hours must not be negative", hint="use a number of hours from 0 on"
        )
    with job_signals():
        report = fill_gaps(
            args.symbols,
            args.intervals,
            args.cache_dir,
            args.max_gap_hours,
            config_path=args.config,
        )
        return present(Report(report, _filled_shown(report), ok=not report["failed"]), args)


def _filled_shown(report: dict[str, Any]) -> Shown:
    for name, bars in report["filled"].items():
        yield f"{name}: {counted(bars, 'new bar')}"
    for name, reason in report["failed"].items():
        yield Line(f"{name}: {reason}", "red")
    too_long = counted(report["too_long"], "gap")
    yield f"{counted(len(report['unchanged']), 'series')} as before; {too_long} too long"
