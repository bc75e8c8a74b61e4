"""Every error of the library, in one tree.

Two class flags say what happens next: ``retry`` (ask the same vendor again) and ``failover`` (ask the
next one: :data:`FAILOVER_ERRORS`).

::

    DataError
    ├── ConfigError (ValueError)          RulesError · MissingCredentialsError · UnknownProviderError
    │                                     · MissingExtraError
    ├── QueryError (ValueError)           BadSymbolError · BadTimeframeError · BadRangeError
    │   │                                 · UniverseError
    │   └── NoProviderError (RuntimeError)
    ├── ProviderError
    │   ├── TransientError                ProviderTimeoutError · UnavailableError · RateLimitedError
    │   │   └── ForeignError              (an UnavailableError that is not retried)
    │   ├── RefusedError                  AuthenticationError · EntitlementError
    │   │   └── RegionError               (an EntitlementError: of the country, not of the plan)
    │   ├── UnsupportedError              SymbolNotFoundError · CapabilityError
    │   ├── NoDataError                   it answered, and has nothing
    │   ├── ResponseFormatError           it answered, and that cannot be read
    │   ├── QualityError                  it answered bars that cannot be bars
    │   ├── KindMismatchError             it answered bars of another kind than the series holds
    │   │   └── SpliceConflictError       (of the same kind, and yet they do not fit beside those)
    │   └── CircuitOpenError              it was not asked
    ├── AllProvidersFailedError (RuntimeError)
    │   └── UnknownSymbolError            (a SymbolNotFoundError, too)
    ├── IncompleteDataError (RuntimeError)
    ├── FeedLagError (RuntimeError)
    ├── DataPortalError (RuntimeError)    NoDataAvailableError · LookaheadError
    ├── CacheError                        CorruptEntryError · FormatVersionError · LockTimeoutError
    │   │                                 · StorageError
    │   └── BundleError                   BundleNotFoundError (a file that is not found)
    ├── DecimalRangeError (ValueError)
    └── DatabaseError                     SchemaError · DatabaseUrlError (a ConfigError, too)

Each also says its ``reason`` in one word of :data:`REASONS`, and its ``brief`` in a sentence for end users.
``IncompleteDataWarning`` warns of a partial answer, ``ReadOnlyCacheWarning`` of a cache that cannot keep it,
``SurvivorshipWarning`` of members of a universe that are not those of that day.
Messages say what happened, to which series, which bound, and what to do; never a key, a query string
or a whole body.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, ClassVar, Literal, get_args
from urllib.parse import unquote

if TYPE_CHECKING:
    import pandas as pd


Reason = Literal[
    "question", "unknown_symbol", "no_vendor", "configuration", "no_key", "plan", "region", "quota",
    "timeout", "outage", "unsupported", "no_data", "bad_answer", "other_kind", "incomplete", "lag",
    "cache", "database", "other",
]  # fmt: skip
REASONS: tuple[Reason, ...] = get_args(Reason)
# One sentence for people who use a program and run none: no vendor's host, no class, no option.
_BRIEFS: dict[Reason, str] = {
    "question": "This request is not valid.",
    "unknown_symbol": "{symbol} is not known at any of the available markets.",
    "no_vendor": "No data source is set up for {symbol}.",
    "configuration": "The data sources of this program are not set up correctly.",
    "no_key": "The data source for {symbol} has no valid key.",
    "plan": "The subscription of the data source does not include this data of {symbol}.",
    "region": "The data source for {symbol} does not serve this country.",
    "quota": "The data source for {symbol} accepts no further request at the moment; try again later.",
    "timeout": "The data source for {symbol} did not answer in time; try again.",
    "outage": "The data source for {symbol} cannot be reached at the moment; try again later.",
    "unsupported": "No data source serves this data of {symbol}.",
    "no_data": "There is no data for {symbol} in this period.",
    "bad_answer": "The data source for {symbol} sent data that cannot be used.",
    "other_kind": "The data source has another kind of prices of {symbol} than requested.",
    "incomplete": "Some of the data of {symbol} is missing.",
    "lag": "The live data of {symbol} arrived faster than it was read.",
    "cache": "The data stored on this machine cannot be used at the moment.",
    "database": "The records stored for this program cannot be used at the moment.",
    "other": "The data of {symbol} is not available.",
}
# Of these the symbol is the cause: what else it may be is all there is to say.
_ABOUT_SYMBOLS: frozenset[Reason] = frozenset({"question", "no_vendor", "unknown_symbol"})
# Where vendors failed for several reasons, the one that says best what to do.
_FIRST: tuple[Reason, ...] = (
    "outage", "timeout", "quota", "no_key", "plan", "region", "bad_answer", "other_kind", "unsupported",
    "no_data", "unknown_symbol",
)  # fmt: skip


def _either(names: Sequence[str]) -> str:
    """Return names as the choice that they are: ``A``, ``A or B``, ``A, B or C``."""
    *first, last = names or ("",)
    return f"{', '.join(first)} or {last}" if first else last


# A message quotes values of the caller, which may be of any length: a longer line is cut.
_LONGEST_LINE, _MOST_LINES = 400, 120
_LONG_RUN = re.compile(r"\S{201,}")
_HEAD, _TAIL = 40, 2


def shortened(text: str) -> str:
    """Return a message or a hint without the middle of values that are far too long for it."""
    if len(text) <= _LONGEST_LINE:
        return text
    return "\n".join(map(_shortened_line, text.splitlines()[:_MOST_LINES]))


def short_words(text: str) -> str:
    """Return a text in which words of more than 200 characters are cut."""
    return _LONG_RUN.sub(lambda run: f"{run[0][:_HEAD]}…{run[0][-_TAIL:]}", text)


def _shortened_line(line: str) -> str:
    if len(line) > _LONGEST_LINE:
        line = short_words(line)
    half = _LONGEST_LINE // 2
    return line if len(line) <= _LONGEST_LINE else f"{line[:half]}…{line[-half:]}"


def _rebuild(cls: type[DataError], args: tuple[Any, ...], state: dict[str, Any]) -> DataError:
    """Make an error again from its pickled parts without calling its constructor."""
    error = cls.__new__(cls)
    error.args = args
    error.__dict__.update(state)
    return error


class DataError(Exception):
    """The root of all errors raised by this library.

    Args:
        message: what happened, to which series, and which bound was hit.
        provider, symbol: the vendor and the symbol concerned, where there is one.
        hint: what the user can do about it; it is printed after the message.

    Attributes:
        hidden_requests: what a vendor's package had sent by itself before the request that failed.
        is_logged: whether the job has logged its cause, a vendor's open circuit, already.
        reason: one word of :data:`REASONS` for programs.
        brief: one sentence for their users; the message is for who runs the program.
        candidates: symbols that may be meant, the likeliest first; each is understood as it stands.
    """

    because: ClassVar[Reason] = "other"
    # Where the class says more to an end user than its reason does.
    _brief: ClassVar[str] = ""
    retry: ClassVar[bool] = False
    failover: ClassVar[bool] = False
    # Whether values in its message are the caller's, so that they are cut.
    _quotes: ClassVar[bool] = False
    hidden_requests: int = 0
    is_logged: bool = False
    candidates: tuple[str, ...] = ()

    def __init__(
        self,
        message: str,
        *,
        provider: str | None = None,
        symbol: str | None = None,
        hint: str | None = None,
    ) -> None:
        if self._quotes:
            message, hint = shortened(message), shortened(hint) if hint else hint
        super().__init__(message)
        self.provider, self.symbol, self.hint = provider, symbol, hint

    @property
    def reason(self) -> Reason:
        """Why it failed, as one of :data:`REASONS`."""
        return self.because

    @property
    def brief(self) -> str:
        """One sentence fit for an end user, without hosts, class names, keys or line breaks."""
        text = "".join(c for c in self.symbol or "" if c.isprintable())[:32]
        symbol, meant = text or "this symbol", _either(self.candidates)
        if meant and self.reason in _ABOUT_SYMBOLS:
            return f"{symbol} may be {meant}."
        brief = self._brief or _BRIEFS[self.reason]
        return brief.format(symbol=symbol)

    def __str__(self) -> str:
        message = str(self.args[0]) if self.args else ""
        return f"{message} ({self.hint})" if self.hint else message

    def __reduce__(self) -> tuple[Callable[..., DataError], tuple[Any, ...]]:
        return _rebuild, (type(self), self.args, self.__dict__)


# --- configuration -------------------------------------------------------------------------


class ConfigError(DataError, ValueError):
    """Something in the configuration cannot be used as it stands.

    Where it concerns one vendor alone, the next one is asked.
    """

    because: ClassVar[Reason] = "configuration"
    _quotes = True

    failover = True


class RulesError(ConfigError):
    """A configuration file is wrong; ``problems`` lists every mistake as ``path: what``."""

    def __init__(
        self, message: str, *, problems: Sequence[str] = (), **context: str | None
    ) -> None:
        super().__init__(message, **context)
        self.problems = tuple(problems)


class MissingCredentialsError(ConfigError):
    """No vendor that could answer has its key set."""

    because: ClassVar[Reason] = "no_key"


class UnknownProviderError(ConfigError):
    """A vendor was named that does not exist here, or cannot be used for want of something.

    Attributes:
        lacking: the error of making it, whose reason is this one's; None where there is no such vendor.
    """

    def __init__(
        self, message: str, *, lacking: DataError | None = None, **context: str | None
    ) -> None:
        super().__init__(message, **context)
        self.lacking = lacking

    @property
    def reason(self) -> Reason:
        """Why it cannot be used: ``no_key`` where only its key is missing."""
        return self.lacking.reason if self.lacking is not None else self.because


class MissingExtraError(ConfigError):
    """An optional package is needed; the message has the line that installs the extra."""


def install_line(extra: str) -> str:
    """Return the command that installs an extra: of the checkout that this file lies in, if it does."""
    checkout = Path(__file__).resolve().parents[2]
    if (checkout / "setup.cfg").is_file():
        return f'pip install -e "{checkout}[{extra}]"'
    return f'pip install "onetape[{extra}]"'


# --- the caller's mistakes -----------------------------------------------------------------


class QueryError(DataError, ValueError):
    """The request itself cannot be understood or can never be answered."""

    because: ClassVar[Reason] = "question"
    _quotes = True


class BadSymbolError(QueryError):
    """The symbol is empty, too long, contains what no symbol contains, or is ambiguous."""

    _brief = "{symbol} is not a valid symbol."


class BadTimeframeError(QueryError):
    """The timeframe is not one of ours."""

    _brief = "The length of the bars in this request is not valid; 1m, 1h and 1d are."


class BadRangeError(QueryError):
    """The range is empty, reversed, not a time, or lies in the future."""

    _brief = "The period of this request is not valid."


class UniverseError(QueryError):
    """A universe, its definition or a file about it cannot be used, or is not point-in-time on that day.

    Attributes:
        line: the line of the file that is at fault, counted from 1; None where there is none.
    """

    _brief = "This list of symbols cannot be used as requested."

    def __init__(self, message: str, *, line: int | None = None, **context: str | None) -> None:
        super().__init__(message, **context)
        self.line = line


class NoProviderError(QueryError, RuntimeError):
    """No vendor is configured for this symbol and timeframe, or each that is lacks its key.

    Attributes:
        lacking: what says which keys are missing, where that alone is the reason; else None.
    """

    because: ClassVar[Reason] = "no_vendor"
    _quotes = False  # a long list of vendors, each with its reason

    def __init__(
        self,
        message: str,
        *,
        lacking: MissingCredentialsError | None = None,
        **context: str | None,
    ) -> None:
        super().__init__(message, **context)
        self.lacking = lacking

    @property
    def reason(self) -> Reason:
        """Why there is none: ``no_key`` where only keys are missing."""
        return self.lacking.reason if self.lacking is not None else self.because


# --- what vendors do -----------------------------------------------------------------------


class ProviderError(DataError):
    """A vendor did not give us bars we can use; another one may."""

    because: ClassVar[Reason] = "outage"

    failover = True


class TransientError(ProviderError):
    """It may work in a moment: the same vendor is asked again within its budget.

    Attributes:
        was_sent: False where nothing of the request can have reached the other side.
        is_unconnected: Whether nothing at all came back from the host, or its name was not found.
        is_own: Whether the network of this machine is down: this says nothing of the vendor.
    """

    retry = True
    was_sent: bool = True
    is_unconnected: bool = False
    is_own: bool = False

    @property
    def is_no_fault(self) -> bool:
        """Whether it says nothing of the vendor: the caller's time was too short, or its network is down."""
        return self.is_own or bool(getattr(self, "by_caller", False))


class ProviderTimeoutError(TransientError):
    """The vendor did not answer in time, or the time of the call was over before it could.

    Attributes:
        by_caller: whether the call left less time than vendors usually take: this says nothing of
            the vendor.
    """

    because: ClassVar[Reason] = "timeout"

    by_caller: bool = False


class UnavailableError(TransientError):
    """The vendor is down, unreachable, or answered with a server error."""


class ForeignError(UnavailableError):
    """A user's downloader raised an error of its own, kept as ``__cause__``.

    Whether asking again would help is not known, so the next vendor is asked.
    """

    retry = False


class RateLimitedError(TransientError):
    """The vendor asked us to slow down.

    Attributes:
        retry_after: for so many seconds, where it names them; ``reset_after`` is the same.
        until_ms: until this instant in UTC milliseconds, where it names one by its clock.
    """

    because: ClassVar[Reason] = "quota"

    def __init__(
        self,
        message: str,
        retry_after: float | None = None,
        until_ms: int | None = None,
        *,
        reset_after: float | None = None,
        **context: str | None,
    ) -> None:
        super().__init__(message, **context)
        self.retry_after = reset_after if retry_after is None else retry_after
        self.until_ms = until_ms

    @property
    def reset_after(self) -> float | None:
        """The same as ``retry_after``."""
        return self.retry_after


class RefusedError(ProviderError):
    """The vendor will not serve this account."""

    because: ClassVar[Reason] = "no_key"


class AuthenticationError(RefusedError):
    """The key is missing, wrong or expired."""


class EntitlementError(RefusedError):
    """The plan or the region does not include what was asked."""

    because: ClassVar[Reason] = "plan"


class RegionError(EntitlementError):
    """The vendor serves no account in this country, whatever the plan and whatever is asked."""

    because: ClassVar[Reason] = "region"


class UnsupportedError(ProviderError):
    """The vendor cannot serve this request at all."""

    because: ClassVar[Reason] = "unsupported"


class SymbolNotFoundError(UnsupportedError):
    """The vendor does not know the symbol."""

    because: ClassVar[Reason] = "unknown_symbol"


class CapabilityError(UnsupportedError):
    """The vendor does not serve this timeframe, asset class or depth of history."""


class NoDataError(ProviderError):
    """The vendor answered, and reports positively that it has nothing.

    Attributes:
        server_now_ms: the vendor's time at its answer, in UTC milliseconds; None where it sent none.
    """

    because: ClassVar[Reason] = "no_data"

    server_now_ms: int | None = None


class ResponseFormatError(ProviderError):
    """The vendor answered, and the answer cannot be read."""

    because: ClassVar[Reason] = "bad_answer"


class QualityError(ProviderError):
    """The vendor answered rows that cannot be bars."""

    because: ClassVar[Reason] = "bad_answer"


class KindMismatchError(ProviderError):
    """The vendor's bars are of another kind than the series; they were not spliced to it."""

    because: ClassVar[Reason] = "other_kind"


class SpliceConflictError(KindMismatchError):
    """Its prices do not fit those of another vendor, beside which they were to stand."""


class CircuitOpenError(ProviderError):
    """The vendor failed lately and is not asked before ``until_ms`` (UTC milliseconds).

    Attributes:
        until_ms: None where it is not known.
        is_locked_out: whether it refused the key, for whatever it was asked.
    """

    until_ms: int | None = None
    is_locked_out: bool = False


# --- the answer ----------------------------------------------------------------------------


@dataclass(frozen=True)
class Attempt:
    """One vendor asked for one segment: which, how it ended, how long it took.

    Attributes:
        provider: the vendor asked.
        outcome, message: ``"ok"``, ``"empty"`` or the error's class; its message, none for ``ok``.
        seconds: time spent on it.
        start_ms, end_ms: the segment asked for, stamps ``[start, end)`` in UTC milliseconds.
        rows, requests: bars received, and HTTP requests it took.
    """

    provider: str
    outcome: str
    message: str = ""
    seconds: float = 0.0
    start_ms: int = 0
    end_ms: int = 0
    rows: int = 0
    requests: int = 0
    error: DataError | None = None

    def __str__(self) -> str:
        return by_vendor(self.provider, self.message)


def by_vendor(provider: str, message: str) -> str:
    """Return a message with its vendor in front, unless it begins with the vendor's name."""
    named = message.lower().replace(" ", "_").startswith(provider.lower())
    text = message if named else f"{provider}: {message}"
    return text.replace(provider, unquote(provider)) if "%" in provider else text


class AllProvidersFailedError(DataError, RuntimeError):
    """Bars were missing, none cached, no vendor could supply them; ``attempts`` lists each request."""

    def __init__(
        self, message: str, *, attempts: Sequence[Attempt] = (), **context: str | None
    ) -> None:
        super().__init__(message, **context)
        self.attempts = tuple(attempts)
        self.is_logged = any(isinstance(a.error, CircuitOpenError) for a in self.attempts)

    @property
    def reason(self) -> Reason:
        """Why the vendors failed: of several reasons the one that says best what to do."""
        if self.because != "other":
            return self.because
        reasons = {a.error.reason for a in self.attempts if a.error is not None}
        return next((reason for reason in _FIRST if reason in reasons), self.because)


class UnknownSymbolError(AllProvidersFailedError, SymbolNotFoundError):
    """The symbol is unknown where it is listed, and no other vendor is proved to mean the same."""

    because: ClassVar[Reason] = "unknown_symbol"

    @property
    def nearest(self) -> tuple[str, ...]:
        """The older name of ``candidates``."""
        return self.candidates


class IncompleteDataError(DataError, RuntimeError):
    """``strict=True`` and the answer has holes; ``frame`` holds what could be had."""

    because: ClassVar[Reason] = "incomplete"

    def __init__(
        self, message: str, *, frame: pd.DataFrame | None = None, **context: str | None
    ) -> None:
        super().__init__(message, **context)
        self.frame = frame


class FeedLagError(DataError, RuntimeError):
    """A listener read too slowly and was cut off from its feed; it got all bars up to there."""

    because: ClassVar[Reason] = "lag"


class DataPortalError(DataError, RuntimeError):
    """A portal cannot answer: its source failed, or gave what cannot be bars of what it was asked for.

    Attributes:
        because_of: the reason of the source's own error, where it has one.
    """

    because: ClassVar[Reason] = "bad_answer"

    def __init__(
        self, message: str, *, because_of: Reason | None = None, **context: str | None
    ) -> None:
        super().__init__(message, **context)
        self.because_of = because_of

    @property
    def reason(self) -> Reason:
        """Why: that of the source's own error where it has one."""
        return self.because_of or self.because


class NoDataAvailableError(DataPortalError):
    """None of the assets has a bar that had closed by then."""

    because: ClassVar[Reason] = "no_data"


class LookaheadError(DataPortalError):
    """A time was asked for that lies after the simulation time of a portal, or after now."""

    because: ClassVar[Reason] = "question"


class IncompleteDataWarning(UserWarning):
    """The answer has holes, flagged rows or another kind than asked (see ``df.attrs``), or is empty."""


class SurvivorshipWarning(UserWarning):
    """The members of a universe are not point-in-time: survivors may stand for those of that day."""


class ReadOnlyCacheWarning(UserWarning):
    """The cache folder is read-only: bars are returned but not cached."""


# What ends one vendor's attempt and no more: the next vendor is asked.
FAILOVER_ERRORS = (ProviderError, ConfigError)


# --- the store -----------------------------------------------------------------------------


class CacheError(DataError):
    """The cache folder could not be used."""

    because: ClassVar[Reason] = "cache"


class CorruptEntryError(CacheError):
    """A file of the cache is damaged; it has been kept in quarantine."""


class FormatVersionError(CacheError):
    """A file was written by a newer version of this library; it is left untouched."""


class LockTimeoutError(CacheError):
    """Another process holds the series' lock for too long."""


class StorageError(CacheError):
    """The operating system refused to read or write (full disk, permissions, I/O error)."""

    _quotes = True


# --- bundles and Decimal columns -----------------------------------------------------------


class BundleError(CacheError):
    """A bundle cannot be read or written as it stands: damaged, foreign, or not what was asked for."""


class BundleNotFoundError(BundleError, FileNotFoundError):
    """There is no bundle of that name, or it holds no bars of that frequency."""


class DecimalRangeError(DataError, ValueError):
    """A value does not fit into the Decimal column that it belongs to; nothing is cut off."""

    because: ClassVar[Reason] = "bad_answer"


# --- the database --------------------------------------------------------------------------


class DatabaseError(DataError):
    """The database could not be used: unreachable, locked, full, damaged, or it refused a value.

    The unit of work that raises it has changed nothing.
    """

    because: ClassVar[Reason] = "database"


class DatabaseUrlError(DatabaseError, ConfigError):
    """The URL of the database cannot be used; the message never holds it, for it may hold a password."""

    because: ClassVar[Reason] = "configuration"


class SchemaError(DatabaseError):
    """The tables are not those of this version: foreign, older on a server, newer, or changed."""
