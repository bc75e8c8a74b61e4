"""``onetape check``: look-ahead and other faults of a user's own features, on cached bars."""

from __future__ import annotations

import argparse
import contextlib
import sys
import traceback
from collections.abc import Callable, Iterator
from pathlib import Path
from types import ModuleType
from typing import TYPE_CHECKING, Any

from ..core.model.words.suggestion import did_you_mean
from ..errors import QueryError
from .arguments import add_span, add_timeout, command, option, usual
from .cached import manager_of
from .output import asking
from .result import Line, Report, Shown
from .tables import counted

if TYPE_CHECKING:
    from ..features.check import FeatureCheck

EXAMPLES = (
    "check my_strategy.py:features AAPL 1d --start 2010-01-01",
    "check my_strategy.py:features BTCUSDT 1h --warmup 200 --strict --json",
)

_SECONDS = 30.0


def configure(parser: argparse.ArgumentParser) -> None:
    """Add the command's options to its parser."""
    text = "your file, and the name of the function (or Backtrader indicator class) in it"
    option(parser, "target FILE.py:NAME", text)
    usual(parser, "series provider")
    add_span(parser)
    text = "the first N values may depend on where the bars start (default 0)"
    option(parser, "--warmup N", text, type=_count, default=0)
    option(parser, "--strict", "exit code 1 for warnings too")
    add_timeout(parser, f"limit for each call of the function; default: {_SECONDS:g} s")
    command(
        parser,
        run,
        (
            "The function takes a pandas frame of closed bars and returns a Series or a frame with the "
            "same index. It runs in this process; what it prints goes to standard error. Exit code 1: "
            "a finding, such as look-ahead; warnings count only with --strict."
        ),
    )


def run(args: argparse.Namespace) -> Report:
    """Check the function; the exit code is 1 if there is a finding.

    Raises:
        QueryError: The file or the name cannot be used, or there are too few bars.
    """
    from ..features.check import check_features

    with contextlib.redirect_stdout(sys.stderr), _without_bytecode():
        function = _load(args.target)
        with asking(args) as notes:
            bars = manager_of(args, makes_folder=True).get_ohlcv(
                args.symbol, args.timeframe, args.start, args.end, provider=args.provider
            )
        bars.attrs.clear()
        seconds = args.timeout or _SECONDS
        result = check_features(function, bars, warmup=args.warmup, timeout=seconds)
    ok = result.ok and not (args.strict and result.warnings)
    return Report(result.as_dict, _result_shown(result, args), notes, ok=ok, is_check=True)


def _result_shown(result: FeatureCheck, args: argparse.Namespace) -> Shown:
    for finding in result.findings:
        yield Line(f"{finding.kind.replace('_', '-')}: {finding.text}", "red")
    for warning in result.warnings:
        yield Line(f"warning: {warning.kind.replace('_', '-')}: {warning.text}", "yellow")
    verdict = counted(len(result.findings), "finding") if result.findings else "no finding"
    work = f"{counted(result.bars, 'bar')} of {args.symbol} {args.timeframe}"
    yield Line(f"{verdict}, {counted(len(result.warnings), 'warning')}; {work}", "dim")


def _load(target: str) -> Callable[..., Any]:
    """Return the function that ``FILE.py:NAME`` names.

    Raises:
        QueryError: There is no such file or name, or the file cannot be run.
    """
    file, _, name = target.rpartition(":")
    path = Path(file).expanduser().resolve()
    if not file.endswith(".py") or not path.is_file():
        raise QueryError(
            f"not a file and a name: {target!r}", hint="use the form my_strategy.py:features"
        )
    module = ModuleType(path.stem)
    module.__file__ = str(path)
    # Modules next to the file can be imported; a class of the file finds its module by its name.
    sys.path.insert(0, str(path.parent))
    sys.modules.setdefault(path.stem, module)
    try:
        exec(compile(path.read_bytes(), str(path), "exec"), module.__dict__)  # noqa: S102 - the user's own file
    except (Exception, SystemExit) as error:
        line = _line_of(error, str(path))
        raise QueryError(
            f"{file}:{line}: {type(error).__name__}: {error}", hint="correct the file"
        ) from error
    found: Callable[..., Any] | None = getattr(module, name, None)
    if callable(found):
        return found
    names = [n for n, value in vars(module).items() if callable(value) and not n.startswith("_")]
    raise QueryError(
        f"{file} has no function {name!r}",
        hint=f"{did_you_mean(name, names)}functions: {', '.join(names) or 'none'}",
    )


def _line_of(error: BaseException, path: str) -> int:
    """Return the line of a file at which an error was raised, or 1."""
    if isinstance(error, SyntaxError) and error.filename == path:
        return error.lineno or 1
    frames = traceback.extract_tb(error.__traceback__)
    return next((f.lineno or 1 for f in reversed(frames) if f.filename == path), 1)


@contextlib.contextmanager
def _without_bytecode() -> Iterator[None]:
    """Keep imports from writing ``__pycache__``, and undo changes of ``sys.path``."""
    before, path = sys.dont_write_bytecode, [*sys.path]
    sys.dont_write_bytecode = True
    try:
        yield
    finally:
        sys.dont_write_bytecode = before
        sys.path[:] = path


def _count(text: str) -> int:
    """Parse an integer of at least 0.

    Raises:
        argparse.ArgumentTypeError: The text is not such an integer.
    """
    if not text.isascii() or not text.isdigit():
        raise argparse.ArgumentTypeError(f"invalid value {text!r}; use 0 or a positive integer")
    return int(text)
