"""``onetape fetch``: bars of one or more symbols, in the terminal, as JSON, or as a file."""

from __future__ import annotations

import argparse
import re
import sys
import time
from pathlib import Path
from typing import TYPE_CHECKING, Any

from ..core.model.display.texts import by_reason, telling
from ..core.model.request.query import EXTRA_COLUMNS
from ..core.model.stored.reasons import sentence
from ..errors import QueryError
from .answers import Provenance, attempts_shown, bars_shown, gaps_shown, headline, records
from .arguments import QUESTION, add_rows, command, given, listed, option, usual
from .cached import manager_of
from .output import asking, is_quiet
from .result import Line, Report, Shown
from .tables import styled

if TYPE_CHECKING:
    import pandas as pd

    from ..data_manager import DataManager

EXAMPLES = ("fetch AAPL 1d --period 1y", "fetch AAPL MSFT BTCUSDT 1h --bars 100 --json")

_SCREEN = "-"
# Placeholder for the symbol in file names.
_SYMBOL = "{symbol}"
# Reasons that mean the arguments were wrong.
_WRONG = ("question", "no_vendor")


def configure(parser: argparse.ArgumentParser) -> None:
    """Add the command's options to its parser."""
    usual(parser, "question forming timeout version")
    option(
        parser,
        "--columns A,B",
        f"add columns to each bar: {', '.join(EXTRA_COLUMNS)}",
        type=listed,
        default=(),
    )
    add_rows(parser)
    option(
        parser,
        "--csv FILE",
        (
            "write the bars as CSV (.gz: compressed; -: to standard output, and nothing "
            "else; for several symbols, put {symbol} in the name)"
        ),
    )
    option(parser, "--parquet FILE", "write the bars as Parquet; file names as for --csv")
    command(parser, run)


def run(args: argparse.Namespace) -> Report:
    """Fetch bars and write the requested files; the exit code is 1 if anything is missing.

    Raises:
        QueryError: Output options are mutually exclusive, or the only symbol is invalid.
        StorageError: An output file would be written into the cache folder.
    """
    _check_outputs(args)
    manager = manager_of(args, makes_folder=True)
    _check_outside(manager, args)
    if len(args.symbols) > 1:
        return _fetch_many(manager, args)
    started = time.perf_counter()
    with asking(args) as notes:
        frame = manager.get_ohlcv(
            args.symbols[0],
            **given(args, f"{QUESTION} include_forming strict columns version timeout"),
        )
    seconds = time.perf_counter() - started
    written = _export(frame, args)
    return Report(
        lambda: _answer_json(frame, written),
        () if args.csv == _SCREEN else frame_shown(frame, written, args.rows, seconds),
        notes,
        ok=frame.attrs["onetape"]["complete"],
        is_check=True,
    )


def _fetch_many(manager: DataManager, args: argparse.Namespace) -> Report:
    """Fetch and export several symbols; the exit code is 2 if none of them is valid."""
    with asking(args, progress=True) as notes:
        frames = manager.get_ohlcv_batch(
            args.symbols,
            **given(args, f"{QUESTION} include_forming strict columns timeout"),
            progress=(lambda _: None) if is_quiet() else None,
        )
    attrs: dict[str, Provenance] = {name: f.attrs["onetape"] for name, f in frames.items()}
    errors = {name: facts["error"] for name, facts in attrs.items() if "error" in facts}
    answers = [
        (frame, _export(frame, args)) for name, frame in frames.items() if name not in errors
    ]

    def shown() -> Shown:
        """Yield the answers, one below the other."""
        for frame, written in answers:
            yield from frame_shown(frame, written, args.rows, None)
            yield ""

    return Report(
        lambda: {"answers": [_answer_json(*answer) for answer in answers], "errors": errors},
        shown,
        notes,
        [error["message"] for error in errors.values()],
        ok=all(facts["complete"] for facts in attrs.values()),
        is_check=True,
        is_misuse=not answers and all(error["reason"] in _WRONG for error in errors.values()),
    )


def _answer_json(frame: pd.DataFrame, written: list[str]) -> dict[str, Any]:
    """Return the answer for one symbol as a JSON-serializable dictionary."""
    return {"provenance": frame.attrs["onetape"], "bars": records(frame), "written": written}


def _check_outputs(args: argparse.Namespace) -> None:
    """Reject outputs that would replace each other, before a vendor is queried.

    Raises:
        QueryError: One file or the screen would get two outputs, or ``--version`` several symbols.
        ConfigError: The working directory no longer exists.
    """
    from ..core.config.settings import working_dir

    if len(args.symbols) > 1:
        if args.version is not None:
            raise QueryError("--version needs exactly one symbol", hint="omit the others")
        for option, name in (("--csv", args.csv), ("--parquet", args.parquet)):
            if name and _SYMBOL not in name:
                raise QueryError(
                    f"{option} {name} names one file for {len(args.symbols)} symbols",
                    hint=f"put {_SYMBOL} in its name, such as '{_SYMBOL}.csv', or give one symbol",
                )
    if args.parquet == _SCREEN:
        raise QueryError("Parquet cannot be written to standard output", hint="name a file")
    if args.csv == _SCREEN and args.json:
        raise QueryError("--csv - and --json both write to standard output", hint="omit one")
    files = [(working_dir() / name).resolve() for name in (args.csv, args.parquet) if name]
    if len(files) > len(set(files)):
        raise QueryError(
            f"--csv and --parquet name the same file: {args.csv}", hint="name two different files"
        )


def _check_outside(manager: DataManager, args: argparse.Namespace) -> None:
    """Reject output files inside the cache folder, because they could replace stored bars."""
    names = [name for name in (args.csv, args.parquet) if name and name != _SCREEN]
    if names:
        from ..core.config.settings import working_dir
        from ..jobs.export.export import Exporter

        exporter = Exporter.of(manager._services)
        for name in names:
            exporter.check_outside(working_dir() / name)


def _export(frame: pd.DataFrame, args: argparse.Namespace) -> list[str]:
    """Write the requested files atomically, and return their paths."""
    from ..core.disk.atomic import csv_text, export_csv, export_parquet

    written = []
    if args.csv == _SCREEN:
        sys.stdout.write(csv_text(frame))
    elif args.csv:
        written.append(str(export_csv(frame, _path(args.csv, frame))))
    if args.parquet:
        written.append(str(export_parquet(frame, _path(args.parquet, frame))))
    return written


def _path(name: str, frame: pd.DataFrame) -> Path:
    """Return a file's path, with the symbol in place of the placeholder."""
    symbol = re.sub(r"[/\\]", "-", frame.attrs["onetape"]["symbol"])
    return Path(name.replace(_SYMBOL, symbol))


def frame_shown(frame: pd.DataFrame, written: list[str], rows: int, seconds: float | None) -> Shown:
    """Yield an answer: its bars, requests and gaps, and the files that were written."""
    provenance: Provenance = frame.attrs["onetape"]
    yield headline(provenance, seconds)
    yield ""
    if len(frame):
        yield from bars_shown(frame, rows)
        yield ""
    else:
        yield styled(f"no bars in this range: {sentence(provenance['empty'])}", "dim")
    yield from attempts_shown(provenance)
    left_out = telling(provenance["rejected"], is_lacking=not provenance["complete"])
    for reason in by_reason(left_out):
        yield styled(f"not asked: {reason}", "dim")
    yield from gaps_shown(provenance)
    for problem in provenance["problems"]:
        yield styled(problem, "yellow")
    for path in written:
        yield Line(f"written: {path}")
