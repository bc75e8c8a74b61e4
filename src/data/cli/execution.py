"""Runs a parsed command: its log, signals and warnings, errors on one line, and the exit code."""

from __future__ import annotations

import argparse
import logging
import signal
import sys
import warnings
from collections.abc import Callable, Iterator
from contextlib import contextmanager

from ..core.observability.logs import LOGGERS, WritingHandler, attach, wanted
from ..core.runtime.resources import rare_collections
from ..errors import ConfigError, DataError, QueryError, shortened
from .output import complain, complain_about, note, quiet, speak_plainly
from .result import FAILED, OK, USAGE, Report, present

# Words that are a timeframe only with a number in front.
_UNITS = ("minute", "min", "hour", "day", "week", "month")


def guarded(args: argparse.Namespace, meant: Callable[[], str] = str) -> int:
    """Run a parsed command and return its exit code; a typed error is printed on one line.

    If the arguments are invalid, the hint is the command line that ``meant`` returns, if any.
    """
    speak_plainly()
    is_quiet, is_verbose = getattr(args, "quiet", False), getattr(args, "verbose", False)
    try:
        _refuse_empty(args)
        if is_quiet and is_verbose:
            raise QueryError("-q and -v cannot be used together", hint="omit one of them")
        logging_ = _logging(getattr(args, "log", None), verbose=is_verbose)
        with rare_collections(), _ended_by_sigterm(), logging_, quiet(is_quiet):
            code = _run(args.run, args)
            # A closed output is noticed here, not by the interpreter at exit.
            sys.stdout.flush()
            return code
    except DataError as error:
        if isinstance(error, QueryError) and (line := meant()):
            error.hint = f"use `{line}`"
        complain_about(error, as_json=getattr(args, "json", False))
        return USAGE if isinstance(error, QueryError | ConfigError) else FAILED
    except KeyboardInterrupt:
        return report_interrupt()
    except BrokenPipeError:
        _drop_output()
        return OK
    except OSError as error:
        complain(_of_the_system(error))
        _drop_output()
        return FAILED


@contextmanager
def _ended_by_sigterm() -> Iterator[None]:
    """Make SIGTERM end a command as Ctrl-C does: received data is kept, and the report is printed."""
    try:
        before = signal.signal(signal.SIGTERM, signal.default_int_handler)
    except ValueError:  # only the main thread of a program has signals
        yield
        return
    try:
        yield
    finally:
        signal.signal(signal.SIGTERM, before)


def report_interrupt() -> int:
    """Report an interrupt on standard error, and return the exit code."""
    complain("interrupted; committed bars are kept")
    return FAILED


def _of_the_system(error: OSError) -> str:
    """Return the message for an operating-system error."""
    reason = error.strerror or str(error)
    if error.filename:
        return shortened(f"{reason}: {error.filename}")
    return f"the output cannot be written: {reason}"


def _refuse_empty(args: argparse.Namespace) -> None:
    """Reject empty values, so that an unset shell variable never selects everything.

    Raises:
        QueryError: A value is empty.
    """
    for name, value in vars(args).items():
        if isinstance(value, str) and not value.strip():
            option = name.replace("_", "-")
            raise QueryError(f"{option} is empty", hint="give it a value, or omit it")
    *symbols, last = getattr(args, "symbols", None) or [""]
    if symbols and last.isdigit() and getattr(args, "timeframe", "").rstrip("s") in _UNITS:
        raise QueryError(f"{last} {args.timeframe} is one argument: write it without a space")


def _run(command: Callable[[argparse.Namespace], Report | int], args: argparse.Namespace) -> int:
    """Run a command, print its report if it returns one, and return the exit code."""
    with warnings.catch_warnings():
        # Warnings about how libraries use each other do not concern the user of a command.
        warnings.simplefilter("ignore", DeprecationWarning)
        warnings.filterwarnings("ignore", module=r"exchange_calendars")
        warnings.showwarning = _note
        answer = command(args)
        return answer if isinstance(answer, int) else present(answer, args)


def _note(message: Warning | str, *_: object, **__: object) -> None:
    """Print a warning without the file and line that caused it."""
    note(str(message))


def _drop_output() -> None:
    """Close standard output if its reader is gone, so that no error is reported at exit."""
    try:
        sys.stdout.flush()
    except OSError:
        try:
            sys.stdout.close()
        except OSError:
            pass  # the pipe is closed in any case


@contextmanager
def _logging(log: str | None, *, verbose: bool) -> Iterator[None]:
    """Show the library's log on standard error while the block runs, if requested.

    Raises:
        ConfigError: The environment requests an unknown format or level.
    """
    choice = wanted(log, "debug" if verbose else None)
    if choice is None:
        yield
        return
    handler = WritingHandler()
    loggers = [logging.getLogger(name) for name in LOGGERS]
    levels = [logger.level for logger in loggers]
    attach(handler, *choice)
    try:
        yield
    finally:
        for logger, level in zip(loggers, levels, strict=True):
            logger.removeHandler(handler)
            logger.setLevel(level)
