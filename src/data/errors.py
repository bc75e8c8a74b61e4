"""Every error of the library, in one tree.

Two class attributes decide what happens after an error: ``retry`` (the same vendor is queried
again) and ``failover`` (the next one is queried; see :data:`FAILOVER_ERRORS`).

::

    DataError
    ├── ConfigError (ValueError)          RulesError · MissingCredentialsError
    │                                     · UnknownProviderError · MissingExtraError
    ├── QueryError (ValueError)           BadSymbolError · BadTimeframeError · BadRangeError
    │   │                                 · UniverseError · FeatureError
    │   └── NoProviderError (RuntimeError)
    ├── ProviderError
    │   ├── TransientError                ProviderTimeoutError · UnavailableError · RateLimitedError
    │   │   └── ForeignError              (an UnavailableError that is not retried)
    │   ├── RefusedError                  AuthenticationError · EntitlementError
    │   │   └── RegionError               (an EntitlementError about the country, not the plan)
    │   ├── UnsupportedError              SymbolNotFoundError · CapabilityError
    │   ├── NoDataError                   the vendor reported that it has no data
    │   ├── ResponseFormatError           the vendor's response could not be read
    │   ├── QualityError                  the vendor returned rows that are not valid bars
    │   ├── KindMismatchError             the vendor's bars are of a different kind than the series
    │   │   └── SpliceConflictError       (of the same kind, but the prices do not match)
    │   └── CircuitOpenError              the vendor was not queried
    ├── AllProvidersFailedError (RuntimeError)
    │   ├── DataProviderError             (by a program's own providers)
    │   └── UnknownSymbolError            (also a SymbolNotFoundError)
    ├── IncompleteDataError (RuntimeError)
    ├── FeedLagError (RuntimeError)
    ├── DataPortalError (RuntimeError)    NoDataAvailableError · LookaheadError
    ├── CacheError                        CorruptEntryError · FormatVersionError · LockTimeoutError
    │   │                                 · StorageError · OvertakenError (by another host)
    │   │                                 · LogUnreachableError (also a StorageError)
    │   └── BundleError                   BundleNotFoundError (its file was not found)
    ├── DecimalRangeError (ValueError)
    └── DatabaseError                     SchemaError · DatabaseUrlError (also a ConfigError)

Each error also has a ``reason``, which is one of :data:`REASONS`, and a ``brief``, a sentence for
end users.

``IncompleteDataWarning`` warns of a partial answer, ``SeriesEndedWarning`` of a symbol that has
ended or been renamed, ``ReadOnlyCacheWarning`` of a cache that cannot be written to, and
``SurvivorshipWarning`` of universe members that may not have been members on the requested day.

Messages state what happened, for which series, which limit applied, and what to do. They never
contain a key, a query string or an entire response.
"""

from __future__ import annotations

import math
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
# One sentence for the application's end users, not its operators: no vendor host, class or option
# names.
_BRIEFS: dict[Reason, str] = {
    "question": "This request is not valid.",
    "unknown_symbol": "{symbol} is not known at any of the available markets.",
    "no_vendor": "No data source is set up for {symbol}.",
    "configuration": "The data sources of this program are not set up correctly.",
    "no_key": "The data source for {symbol} has no valid key.",
    "plan": "The subscription of the data source does not include this data for {symbol}.",
    "region": "The data source for {symbol} does not serve this country.",
    "quota": (
        "The data source for {symbol} is not accepting requests at the moment; try again later."
    ),
    "timeout": "The data source for {symbol} did not answer in time; try again.",
    "outage": "The data source for {symbol} cannot be reached at the moment; try again later.",
    "unsupported": "No data source has this data for {symbol}.",
    "no_data": "There is no data for {symbol} in this period.",
    "bad_answer": "The data source for {symbol} sent data that cannot be used.",
    "other_kind": "The data source has a different kind of prices for {symbol} than requested.",
    "incomplete": "Some of the data for {symbol} is missing.",
    "lag": "The live data for {symbol} arrived faster than it was read.",
    "cache": "The data stored on this machine cannot be used at the moment.",
    "database": "The records stored for this program cannot be used at the moment.",
    "other": "The data for {symbol} is not available.",
}
# Reasons that are about the symbol itself; only for these does the brief list possible symbols.
_ABOUT_SYMBOLS: frozenset[Reason] = frozenset({"question", "no_vendor", "unknown_symbol"})
# The most actionable reasons first: if vendors failed for several, the first of these is reported.
_FIRST: tuple[Reason, ...] = (
    "outage", "timeout", "quota", "no_key", "plan", "region", "bad_answer", "other_kind", "unsupported",
    "no_data", "unknown_symbol",
)  # fmt: skip


def _choice(names: Sequence[str]) -> str:
    """Join names as a choice: ``A``, ``A or B``, ``A, B or C``."""
    *first, last = names or ("",)
    return f"{', '.join(first)} or {last}" if first else last


# Messages quote the caller's values, which may be of any length; longer lines are shortened.
_LONGEST_LINE, _MOST_LINES = 400, 120
_LONG_RUN = re.compile(r"\S{201,}")
_HEAD, _TAIL = 40, 2


def shortened(text: str) -> str:
    """Return a message or hint, leaving out the middle of overlong values."""
    if len(text) <= _LONGEST_LINE:
        return text
    return "\n".join(map(_shortened_line, text.splitlines()[:_MOST_LINES]))


def short_words(text: str) -> str:
    """Return a string with words of more than 200 characters shortened."""
    return _LONG_RUN.sub(lambda run: f"{run[0][:_HEAD]}…{run[0][-_TAIL:]}", text)


def _shortened_line(line: str) -> str:
    if len(line) > _LONGEST_LINE:
        line = short_words(line)
    half = _LONGEST_LINE // 2
    return line if len(line) <= _LONGEST_LINE else f"{line[:half]}…{line[-half:]}"


def _rebuild(cls: type[DataError], args: tuple[Any, ...], state: dict[str, Any]) -> DataError:
    """Restore an error from its pickled parts without calling its constructor."""
    error = cls.__new__(cls)
    error.args = args
    error.__dict__.update(state)
    return error


class DataError(Exception):
    """The root of all errors raised by this library.

    Args:
        message: Description of what happened, for which series, and which limit applied.
        provider, symbol: Vendor and symbol to which the error applies, if any.
        hint: Advice to the user, printed after the message.

    Attributes:
        hidden_requests: Number of requests that a vendor's own package had sent on its own before
            the failed one.
        is_logged: Whether a job has already logged the cause, which is that a vendor is paused
            after failures.
        reason: Reason for programs to act on; one of :data:`REASONS`.
        brief: One sentence for the application's end users; the message itself is for the operator.
        candidates: Symbols that the user may have meant, most likely first; each can be used as it
            is.
        lacking_extra: Extra whose absence explains the error, so that the brief contains the
            command that installs it; empty otherwise.
    """

    because: ClassVar[Reason] = "other"
    # The brief of a class that can be more specific than its reason; empty otherwise.
    _brief: ClassVar[str] = ""
    retry: ClassVar[bool] = False
    failover: ClassVar[bool] = False
    # Whether the message quotes values of the caller, which are then shortened.
    _quotes: ClassVar[bool] = False
    hidden_requests: int = 0
    is_logged: bool = False
    candidates: tuple[str, ...] = ()
    lacking_extra: str = ""

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
        """The reason for the failure, one of :data:`REASONS`."""
        return self.because

    @property
    def brief(self) -> str:
        """One sentence fit for an end user, without hosts, class names, keys or line breaks."""
        text = "".join(c for c in self.symbol or "" if c.isprintable())[:32]
        symbol, alternatives = text or "this symbol", _choice(self.candidates)
        if alternatives and self.reason in _ABOUT_SYMBOLS:
            return f"{symbol} may be {alternatives}."
        if self.lacking_extra:
            command = f"pip install 'onetape[{self.lacking_extra}]'"
            return f"The data source for {symbol} rejects this installation; run {command}."
        return (self._brief or _BRIEFS[self.reason]).format(symbol=symbol)

    def __str__(self) -> str:
        message = str(self.args[0]) if self.args else ""
        return f"{message} ({self.hint})" if self.hint else message

    def __reduce__(self) -> tuple[Callable[..., DataError], tuple[Any, ...]]:
        return _rebuild, (type(self), self.args, self.__dict__)


# --- configuration -------------------------------------------------------------------------


class ConfigError(DataError, ValueError):
    """A part of the configuration is invalid or missing.

    If only one vendor is affected, the next vendor is queried.
    """

    because: ClassVar[Reason] = "configuration"
    _quotes = True

    failover = True


class RulesError(ConfigError):
    """A configuration file has errors; ``problems`` lists each as ``path: description``."""

    def __init__(
        self, message: str, *, problems: Sequence[str] = (), **context: str | None
    ) -> None:
        super().__init__(message, **context)
        self.problems = tuple(problems)


class MissingCredentialsError(ConfigError):
    """No API key is set for any vendor that could answer."""

    because: ClassVar[Reason] = "no_key"


class UnknownProviderError(ConfigError):
    """The named vendor does not exist, or cannot be used because a key or package is missing.

    Attributes:
        lacking: Error that was raised when the vendor's downloader was created, from which this
            error takes its reason; None if the vendor does not exist.
    """

    def __init__(
        self, message: str, *, lacking: DataError | None = None, **context: str | None
    ) -> None:
        super().__init__(message, **context)
        self.lacking = lacking

    @property
    def reason(self) -> Reason:
        """The reason why the vendor cannot be used; ``no_key`` if only its key is missing."""
        return self.lacking.reason if self.lacking is not None else self.because


class MissingExtraError(ConfigError):
    """An optional package is needed; the message contains the command that installs the extra."""


def install_line(extra: str) -> str:
    """Return the command that installs an extra; in a source checkout, it installs from the checkout."""
    checkout = Path(__file__).resolve().parents[2]
    if (checkout / "setup.cfg").is_file():
        return f'pip install -e "{checkout}[{extra}]"'
    return f'pip install "onetape[{extra}]"'


# --- the caller's mistakes -----------------------------------------------------------------


class QueryError(DataError, ValueError):
    """The request itself is invalid or can never be answered."""

    because: ClassVar[Reason] = "question"
    _quotes = True


class BadSymbolError(QueryError):
    """The symbol is empty, too long, malformed or ambiguous."""

    _brief = "{symbol} is not a valid symbol."


class BadTimeframeError(QueryError):
    """The timeframe is not one that this library supports."""

    _brief = "The length of the bars in this request is not valid; use 1m, 1h or 1d, for example."


class BadRangeError(QueryError):
    """The range is empty, reversed or in the future, or a bound is not a time."""

    _brief = "The period of this request is not valid."


class FeatureError(QueryError):
    """A function of features looks ahead, changes its input, or does not return one row for each bar."""


class UniverseError(QueryError):
    """A universe, its definition or a file for it is invalid, or the universe is not point-in-time.

    Attributes:
        line: Number of the faulty line in the file, counted from 1; None if no particular line is
            faulty.
    """

    _brief = "This list of symbols cannot be used as requested."

    def __init__(self, message: str, *, line: int | None = None, **context: str | None) -> None:
        super().__init__(message, **context)
        self.line = line


class NoProviderError(QueryError, RuntimeError):
    """No vendor is configured for this symbol and timeframe, or all configured vendors lack keys.

    Attributes:
        lacking: Error that names the missing keys, if missing keys are the only reason; otherwise
            None.
    """

    because: ClassVar[Reason] = "no_vendor"
    _quotes = False  # the message is long because it lists every vendor with its reason

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
        """The reason why no vendor can be used; ``no_key`` if only keys are missing."""
        return self.lacking.reason if self.lacking is not None else self.because


# --- vendor failures -----------------------------------------------------------------------


class ProviderError(DataError):
    """A vendor did not return usable bars; another vendor may have them."""

    because: ClassVar[Reason] = "outage"

    failover = True


class TransientError(ProviderError):
    """A failure that may be temporary; the same vendor is queried again, up to the retry limits.

    Attributes:
        was_sent: False if it is certain that no part of the request reached the vendor.
        is_own: Whether this machine's own network is down or the host's name cannot be resolved, so
            that the vendor is not at fault.
    """

    retry = True
    _retry_after: float | None = None
    was_sent: bool = True
    is_own: bool = False

    @property
    def retry_after(self) -> float | None:
        """Seconds to wait, if the vendor sent this; values are set as by :func:`wait_seconds`."""
        return self._retry_after

    @retry_after.setter
    def retry_after(self, value: Any) -> None:
        self._retry_after = wait_seconds(value)

    @property
    def is_no_fault(self) -> bool:
        """Whether the vendor is not at fault.

        The vendor is not at fault if the caller allowed too little time, or if this machine's
        network is down.
        """
        return self.is_own or bool(getattr(self, "by_caller", False))


class ProviderTimeoutError(TransientError):
    """The vendor did not answer in time, or the call ran out of time before the vendor could answer.

    Attributes:
        by_caller: Whether the call left less time than vendors usually take, so that the vendor is
            not at fault.
    """

    because: ClassVar[Reason] = "timeout"

    by_caller: bool = False


class UnavailableError(TransientError):
    """The vendor is down, cannot be reached, or returned a server error."""


class ForeignError(UnavailableError):
    """Code from outside this library raised an error, which is the ``__cause__`` of this one.

    Whether a retry would help is not known, so the next vendor is queried.
    """

    retry = False


def wait_seconds(value: Any) -> float | None:
    """Return a wait in seconds, from a number or the text of one; None if it is not a valid wait.

    Errors from programs often have a header's text (``"60"``) or a wait that they could not read.
    """
    try:
        seconds = float(value)
    except (TypeError, ValueError, OverflowError):
        return None
    return seconds if 0 <= seconds < math.inf else None


class RateLimitedError(TransientError):
    """The vendor asked us to slow down.

    Attributes:
        until_ms: End of the wait in UTC milliseconds by the vendor's clock, if the vendor sent
            this.
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
        """Alias for ``retry_after``."""
        return self.retry_after


class RefusedError(ProviderError):
    """The vendor refuses to serve this account."""

    because: ClassVar[Reason] = "no_key"


class AuthenticationError(RefusedError):
    """The API key is missing, wrong or expired."""


class EntitlementError(RefusedError):
    """The account's plan or region does not include the requested data."""

    because: ClassVar[Reason] = "plan"


class RegionError(EntitlementError):
    """The vendor does not serve any account in this country, regardless of the plan or request."""

    because: ClassVar[Reason] = "region"


class UnsupportedError(ProviderError):
    """The vendor cannot serve this request at all."""

    because: ClassVar[Reason] = "unsupported"


class SymbolNotFoundError(UnsupportedError):
    """The symbol is unknown to the vendor."""

    because: ClassVar[Reason] = "unknown_symbol"


class CapabilityError(UnsupportedError):
    """The vendor does not serve this timeframe or asset class, or bars this far back.

    Attributes:
        begins_ms: Time at which the vendor's history begins, in UTC milliseconds, if earlier bars
            were requested.
    """

    begins_ms: int | None = None


class NoDataError(ProviderError):
    """The vendor answered and explicitly reported that it has no data.

    Attributes:
        server_now_ms: Time of the answer by the vendor's own clock, in UTC milliseconds; None if
            the vendor did not send a time.
        listed_ms: Time of the first trade, in UTC milliseconds, if the vendor gives it.
    """

    because: ClassVar[Reason] = "no_data"

    server_now_ms: int | None = None
    listed_ms: int | None = None


class ResponseFormatError(ProviderError):
    """The vendor answered, but its response cannot be read.

    Attributes:
        is_page: Whether the response is something other than data, such as a page in HTML. The
            endpoint is then at fault, whichever symbol was requested.
    """

    because: ClassVar[Reason] = "bad_answer"

    is_page: bool = False

    @classmethod
    def of_page(cls, message: str) -> ResponseFormatError:
        """Return the error for a response that is something other than data."""
        error = cls(message)
        error.is_page = True
        return error


class QualityError(ProviderError):
    """The vendor returned rows that are not valid bars."""

    because: ClassVar[Reason] = "bad_answer"


class KindMismatchError(ProviderError):
    """The vendor's bars differ in kind from the stored series, and were not added to it."""

    because: ClassVar[Reason] = "other_kind"


class SpliceConflictError(KindMismatchError):
    """The vendor's prices do not match the other vendor's series that they should continue."""


class CircuitOpenError(ProviderError):
    """The vendor has failed recently and will not be queried before ``until_ms`` (UTC milliseconds).

    Attributes:
        until_ms: Time from which the vendor can be queried again; None if unknown.
        is_locked_out: Whether the reason is that the vendor rejected the key for all requests.
        is_endpoint_only: Whether the reason implies nothing about other data of the vendor, such as
            bars of another timeframe: the plan does not include these data, or they were not valid.
    """

    until_ms: int | None = None
    is_locked_out: bool = False
    is_endpoint_only: bool = False


# --- the answer ----------------------------------------------------------------------------


@dataclass(frozen=True)
class Attempt:
    """A request to one vendor for a segment of a query's range, with its outcome and duration.

    Attributes:
        provider: Vendor that was queried.
        outcome, message: Outcome (``"ok"``, ``"empty"`` or the name of the error's class), and the
            error's message (empty for ``"ok"``).
        seconds: Time spent on the request.
        start_ms, end_ms: Requested segment of opening times, ``[start, end)``, in UTC milliseconds.
        rows, requests: Number of bars received, and number of HTTP requests sent.
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
    """Return a message prefixed with its vendor, unless it begins with the vendor's name."""
    is_named = message.lower().replace(" ", "_").startswith(provider.lower())
    text = message if is_named else f"{provider}: {message}"
    return text.replace(provider, unquote(provider)) if "%" in provider else text


class AllProvidersFailedError(DataError, RuntimeError):
    """Nothing is cached and no vendor could supply bars; ``attempts`` lists each request."""

    def __init__(
        self, message: str, *, attempts: Sequence[Attempt] = (), **context: str | None
    ) -> None:
        super().__init__(message, **context)
        self.attempts = tuple(attempts)
        self.is_logged = any(isinstance(a.error, CircuitOpenError) for a in self.attempts)
        extras = [a.error.lacking_extra for a in self.attempts if a.error is not None]
        self.lacking_extra = next(filter(None, extras), "")

    @property
    def reason(self) -> Reason:
        """The reason why the vendors failed; out of several reasons, the one easiest to act on."""
        if self.because != "other":
            return self.because
        reasons = {a.error.reason for a in self.attempts if a.error is not None}
        return next((reason for reason in _FIRST if reason in reasons), self.because)


class DataProviderError(AllProvidersFailedError):
    """None of a program's own providers (``onetape.sources``) could supply the bars."""


class UnknownSymbolError(AllProvidersFailedError, SymbolNotFoundError):
    """The symbol is unknown at its venue, and no other vendor is proven to serve the same instrument."""

    because: ClassVar[Reason] = "unknown_symbol"

    @property
    def nearest(self) -> tuple[str, ...]:
        """The older name of ``candidates``."""
        return self.candidates


class IncompleteDataError(DataError, RuntimeError):
    """``strict=True`` was set, and the answer has gaps; ``frame`` contains the bars that were available."""

    because: ClassVar[Reason] = "incomplete"

    def __init__(
        self, message: str, *, frame: pd.DataFrame | None = None, **context: str | None
    ) -> None:
        super().__init__(message, **context)
        self.frame = frame


# Errors that are the result of a query. Their message is complete, so the stack frames inside this
# package are left out of the traceback.
ANSWERS = (QueryError, AllProvidersFailedError, IncompleteDataError)


class FeedLagError(DataError, RuntimeError):
    """A feed's listener read too slowly and was cut off, after receiving all bars up to that point."""

    because: ClassVar[Reason] = "lag"


class DataPortalError(DataError, RuntimeError):
    """A data portal cannot answer, because its source failed or returned invalid bars.

    Attributes:
        because_of: Reason given by the source's own error, if there is one.
    """

    because: ClassVar[Reason] = "bad_answer"

    def __init__(
        self, message: str, *, because_of: Reason | None = None, **context: str | None
    ) -> None:
        super().__init__(message, **context)
        self.because_of = because_of

    @property
    def reason(self) -> Reason:
        """The reason for the failure, taken from the source's own error, if any."""
        return self.because_of or self.because


class NoDataAvailableError(DataPortalError):
    """None of the assets has a bar among the last rows up to the requested time."""

    because: ClassVar[Reason] = "no_data"


class LookaheadError(DataPortalError):
    """The requested time is after the data portal's simulation time, or in the future."""

    because: ClassVar[Reason] = "question"


class IncompleteDataWarning(UserWarning):
    """The answer is empty, has gaps or flagged rows, or is of a different kind (see ``df.attrs``)."""


class SeriesEndedWarning(UserWarning):
    """The range reaches behind the end of a series, whose symbol is gone or renamed (``ended``)."""


class SurvivorshipWarning(UserWarning):
    """A universe's members are not point-in-time: companies that have failed since may be missing."""


class ReadOnlyCacheWarning(UserWarning):
    """The cache folder is read-only: bars are returned but not cached."""


# Errors that end only one vendor's attempt: the next vendor is queried.
FAILOVER_ERRORS = (ProviderError, ConfigError)


# --- the cache ----------------------------------------------------------------------------


class CacheError(DataError):
    """The cache folder could not be used, or nothing is cached for a series."""

    because: ClassVar[Reason] = "cache"


class CorruptEntryError(CacheError):
    """A cache file is damaged; it has been moved to quarantine."""


class FormatVersionError(CacheError):
    """A file was written by a newer version of this library; it is left untouched."""


class LockTimeoutError(CacheError):
    """Another thread or process has held a lock, such as a series' lock, for too long."""


class StorageError(CacheError):
    """The operating system could not read or write a file (full disk, permissions, I/O error)."""

    _quotes = True


class LogUnreachableError(StorageError):
    """The server that many hosts share cannot be reached; nothing was stored."""


class OvertakenError(CacheError):
    """Another host has committed to the series since it was read; nothing was stored.

    Attributes:
        is_final: Whether it makes no sense to fit the answer to the newer bars and to try again:
            another host has taken over the fetch, or has committed before each attempt.
    """

    is_final = False


# --- bundles and Decimal columns -----------------------------------------------------------


class BundleError(CacheError):
    """A bundle cannot be used: it is damaged, from other software, or not the one requested."""


class BundleNotFoundError(BundleError, FileNotFoundError):
    """No bundle has that name, or the bundle does not contain bars of that frequency."""


class DecimalRangeError(DataError, ValueError):
    """A value is too large for its Decimal column, or a price so small that it would become 0."""

    because: ClassVar[Reason] = "bad_answer"


# --- the database --------------------------------------------------------------------------


class DatabaseError(DataError):
    """The database is unreachable, locked, full or damaged, or it rejected a value.

    The unit of work that raised this error has not changed anything.
    """

    because: ClassVar[Reason] = "database"


class DatabaseUrlError(DatabaseError, ConfigError):
    """The database URL cannot be used; the message omits the URL, which may contain a password."""

    because: ClassVar[Reason] = "configuration"


class SchemaError(DatabaseError):
    """The tables cannot be used or changed as they are.

    They are missing, belong to another program, have been modified, or were created by a newer
    version. Tables on a server that an earlier version created must first be upgraded with ``onetape
    db upgrade``.
    """
