"""Output of the commands: the screen, JSON for scripts, and error messages."""

from __future__ import annotations

import argparse
import codecs
import errno
import io
import json
import math
import os
import shutil
import sys
import warnings
from collections.abc import Iterable, Iterator
from contextlib import AbstractContextManager, contextmanager, nullcontext
from contextvars import ContextVar
from typing import TYPE_CHECKING, Any

from ..core.model.words.printable import printable
from ..errors import DataError, IncompleteDataWarning, ReadOnlyCacheWarning, SeriesEndedWarning

if TYPE_CHECKING:
    from rich.console import Console
    from rich.segment import Segment
    from rich.text import Text

# Wide enough that no line is broken if the output goes to `grep` or a file.
_UNBOUND_WIDTH = 200
# One ASCII character for each special character, so that columns stay aligned.
_PLAIN = dict(zip("▁▂▃▄▅▆▇█░┤─━│·→…✓✗●○", "_..:-=+#?|--|->~+x*o", strict=True))
_PLAIN_ERRORS = "onetape-plain"


def console(*, stderr: bool = False) -> Console:
    """Return a console that uses colors only in a terminal and prints text literally.

    Brackets and colons in a message have no special meaning. ``NO_COLOR`` and ``COLUMNS`` are
    respected.
    """
    from rich.console import Console
    from rich.segment import Segment

    class Screen(Console):
        def on_broken_pipe(self) -> None:
            """Let the caller handle a closed output, which is not a failure."""
            raise BrokenPipeError

        def render(self, renderable: Any, options: Any = None) -> Iterator[Segment]:
            """Render an object with control characters escaped, because vendors may send some."""
            for text, style, control in super().render(renderable, options):
                yield Segment(text if control else printable(text), style, control)

    stream = sys.stderr if stderr else sys.stdout
    if stderr and _is_quiet.get():
        stream = _NullStream()
    width = None
    if not stream.isatty():
        width = shutil.get_terminal_size((_UNBOUND_WIDTH, 50)).columns
    return Screen(file=stream, highlight=False, markup=False, emoji=False, width=width)


# Whether standard error is reserved for errors.
_is_quiet: ContextVar[bool] = ContextVar("onetape_quiet", default=False)


@contextmanager
def quiet(wanted: bool) -> Iterator[None]:
    """While the block runs, suppress progress and notes, but not errors, if ``wanted``."""
    token = _is_quiet.set(wanted)
    try:
        yield
    finally:
        _is_quiet.reset(token)


def is_quiet() -> bool:
    """Return whether ``-q`` is in effect, so that results that need no attention are not printed."""
    return _is_quiet.get()


class _NullStream(io.TextIOBase):
    """A stream that discards everything; it replaces a standard stream that has been closed."""

    def write(self, text: str) -> int:
        """Discard ``text``; return its length, as if it were written."""
        return len(text)


def speak_plainly() -> None:
    """Use ASCII in terminals without Unicode, and ignore output to closed streams."""
    codecs.register_error(_PLAIN_ERRORS, _plain_sign)
    sys.stdout, sys.stderr = sys.stdout or _NullStream(), sys.stderr or _NullStream()
    for stream in (sys.stdout, sys.stderr):
        if hasattr(stream, "reconfigure"):
            stream.reconfigure(errors=_PLAIN_ERRORS)


def _plain_sign(error: UnicodeError) -> tuple[str, int]:
    assert isinstance(error, UnicodeEncodeError)
    text = error.object[error.start : error.end]
    return "".join(_PLAIN.get(sign, "?") for sign in text), error.end


def busy(args: argparse.Namespace, doing: str) -> AbstractContextManager[Any]:
    """Show a status line with the symbol and the activity on standard error, if that is a terminal."""
    screen = console(stderr=True)
    if not screen.is_terminal:
        return nullcontext()
    symbols = ", ".join(getattr(args, "symbols", None) or filter(None, [args.symbol]))
    name = " ".join(filter(None, (symbols, getattr(args, "timeframe", ""))))
    return screen.status(": ".join(filter(None, (name, doing))))


@contextmanager
def asking(args: argparse.Namespace, *, progress: bool = False) -> Iterator[list[str]]:
    """Show a status line while the block requests bars, and collect the block's warnings.

    After the block, the yielded list contains each warning once, as a note to print.

    Args:
        args: Arguments of the command.
        progress: Whether the caller shows progress itself, so that no status line is needed.
    """
    lines: list[str] = []
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        doing = "reading the cache and fetching what is missing"
        with nullcontext() if progress else busy(args, doing):
            yield lines
    for warning in caught:
        if issubclass(warning.category, IncompleteDataWarning):
            lines.append(f"incomplete: {warning.message}")
        elif issubclass(warning.category, SeriesEndedWarning | ReadOnlyCacheWarning):
            lines.append(str(warning.message))
    lines[:] = dict.fromkeys(lines)


def print_json(value: Any) -> None:
    """Print ``value`` as one JSON document on standard output; NaN and infinity become null.

    The document is indented in a terminal; otherwise it is on one line.
    """
    indent = 2 if sys.stdout.isatty() else None
    sys.stdout.write(json.dumps(_json(value), indent=indent, allow_nan=False, default=str) + "\n")


def print_line(text: str) -> OSError | None:
    """Print a line on standard output at once; return the error if it cannot be written.

    A line that cannot be written is not left in the stream's buffer, from which it would be written
    later.
    """
    stream: Any = sys.stdout
    raw = getattr(getattr(stream, "buffer", None), "raw", None)
    try:
        if raw is None:  # a stream in memory
            print(text, flush=True)
            return None
        stream.flush()
        data = f"{text}{os.linesep}".encode(stream.encoding, stream.errors)
        while data:
            written = raw.write(data)
            if written is None:
                raise BlockingIOError(errno.EAGAIN, "its reader is too slow")
            data = data[written:]
    except OSError as error:
        return error
    return None


def _json(value: Any) -> Any:
    if isinstance(value, dict):
        return {str(k): _json(v) for k, v in value.items()}
    for method in ("as_dict", "to_json", "_asdict"):
        if hasattr(value, method):
            return _json(getattr(value, method)())
    if isinstance(value, list | tuple):
        return [_json(v) for v in value]
    if isinstance(value, float) and not math.isfinite(value):
        return None
    return value


def complain(message: str, hints: Iterable[str] = ()) -> None:
    """Print an error on standard error, followed by hints."""
    from rich.text import Text

    lines = [Text.assemble(("onetape: ", "bold red"), message)]
    with quiet(False):
        _print_errors(*lines, *(Text(f"  {hint}", style="dim") for hint in hints))


def note(message: str) -> None:
    """Print a message that is not an error on standard error."""
    from rich.text import Text

    _print_errors(Text(message, style="yellow"))


def print_state(line: str) -> None:
    """Print a line about the current state on standard error; a closed stream is ignored."""
    from rich.text import Text

    _print_errors(Text(line))


def _print_errors(*lines: Text) -> None:
    """Print lines on standard error; if that is closed, discard the lines."""
    screen = console(stderr=True)
    try:
        for line in lines:
            screen.print(line, soft_wrap=not screen.is_terminal)
    except OSError:
        sys.stderr = _NullStream()  # otherwise the interpreter tries again at exit


def complain_about(error: DataError, *, as_json: bool = False) -> None:
    """Print a typed error on standard error, and as JSON if requested."""
    if as_json:
        print_json({"error": described(error)})
    complain(str(error.args[0]) if error.args else type(error).__name__, filter(None, [error.hint]))


def described(error: DataError) -> dict[str, Any]:
    """Return a typed error as a JSON-serializable dictionary."""
    attempts = [
        {"provider": a.provider, "outcome": a.outcome, "message": a.message}
        for a in getattr(error, "attempts", ())
    ]
    return {
        "type": type(error).__name__,
        "message": str(error),
        "reason": error.reason,
        "brief": error.brief,
        "candidates": list(error.candidates),
        "hint": error.hint,
        "provider": error.provider,
        "symbol": error.symbol,
        "problems": list(getattr(error, "problems", ())),
        "attempts": attempts,
    }
