"""Asks vendors for bars whose prices are known, and compares: at most two requests for bars each.

Nothing is read from a cache or written to one. The requests count against the user's limits.
"""

from __future__ import annotations

import threading
import time
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from typing import Any, NamedTuple

from ..._version import __version__
from ...core.clock import Clock
from ...core.interface import (
    BaseDataDownloader,
    downloader_class,
    fetch_bars,
    is_ours,
    reach_all,
    run_call,
)
from ...core.model.identity.instrument import AssetClass
from ...core.model.request.capabilities import Fetched, FetchQuery
from ...core.model.time.instant import DAY_MS, date_of, parse_iso
from ...core.model.time.span import Span
from ...core.model.time.timeframe import Timeframe
from ...core.provider_selector import ProviderSelector
from ...core.registry import FAMILIES, SERVED, is_of_market
from ...errors import (
    AuthenticationError,
    DataError,
    EntitlementError,
    NoDataError,
    ProviderTimeoutError,
    RateLimitedError,
    ResponseFormatError,
    UnavailableError,
    UnsupportedError,
)
from .vendors import obstacle_of

MOST_REQUESTS = 2
# Time for the first contact with all vendors, and then for all their answers, in seconds.
_REACH_S, _WITHIN_S = 2.0, 20.0
_DAILY = Timeframe.parse("1d")
# The first kind of error that matches names the answer.
_ANSWERS: tuple[tuple[type[DataError], str], ...] = (
    (ProviderTimeoutError, "late"),
    (RateLimitedError, "too many requests"),
    (UnavailableError, "unreachable"),
    (AuthenticationError, "key refused"),
    (EntitlementError, "refused by plan"),
    (UnsupportedError, "not served"),
    (NoDataError, "not served"),
)
_PAGE = "a page instead of an answer"


class Known(NamedTuple):
    """Bars of past days whose closes are known.

    Attributes:
        symbol: Symbol of the bars, and of those of ``symbols`` for the vendors named there.
        closes: Closes by date, as traded.
        tolerance: Largest relative difference: other venues and other ends of the day differ less.
        split: Date and ratio of a split within these days, if there is one.
        symbols: Maps vendors to their symbols.
    """

    symbol: str
    closes: Mapping[str, float]
    tolerance: float
    split: tuple[str, int] = ("", 1)
    symbols: Mapping[str, str] = {}


# Closes of the consolidated tape and of Yahoo; of Binance (Coinbase's differ by 0.1 %); of S&P (a
# tenth is the price of SPY, within 0.7 %); mid prices of FXCM at 24:00 UTC. Each differs from those
# of the days beside it by more than the tolerance.
KNOWN: Mapping[AssetClass, Known] = {
    "stock": Known(
        "AAPL",
        {"2020-08-28": 499.23, "2020-08-31": 129.04, "2020-09-01": 134.18},
        0.002,
        ("2020-08-31", 4),
    ),
    "crypto": Known(
        "BTC-USD",
        {"2024-01-01": 44179.55, "2024-01-02": 44946.91, "2024-01-03": 42845.23},
        0.005,
        symbols={"binance": "BTCUSDT"},
    ),
    "index": Known(
        "^GSPC", {"2020-03-12": 2480.64, "2020-03-13": 2711.02, "2020-03-16": 2386.13}, 0.001
    ),
    "forex": Known(
        "EUR/USD", {"2018-06-13": 1.180335, "2018-06-14": 1.15629, "2018-06-15": 1.16078}, 0.003
    ),
}


@dataclass(frozen=True)
class Answer:
    """A vendor's answer to one question.

    Attributes:
        vendor: Canonical name of the vendor.
        question: Symbol, timeframe and days.
        answer: ``right``, ``differs``, ``late``, ``unreachable``, ``no key`` or another refusal.
        detail: What differs, or the reason.
        requests: Number of requests for bars that were answered.
    """

    vendor: str
    question: str
    answer: str = "late"
    detail: str = ""
    requests: int = 0

    def to_json(self) -> dict[str, Any]:
        """Return the answer as a JSON-serializable dictionary."""
        return asdict(self)


def market_vendors() -> list[str]:
    """Return the vendors with bars of real markets; of ccxt's exchanges, one with a long history."""
    names = [name for name in SERVED if is_of_market(name) and name not in FAMILIES]
    return [*names, "ccxt:coinbase"]


def known_of(vendor: str) -> list[Known]:
    """Return what a vendor is asked for: at most two questions, with its own symbols.

    Raises:
        MissingExtraError: The package that lists the vendor's family is not installed.
        UnknownProviderError: The vendor does not exist.
    """
    classes = downloader_class(vendor).capabilities.asset_classes
    questions = [KNOWN[name] for name in KNOWN if name in classes]
    # A vendor of shares is asked for an index or a currency rather than for coins.
    if len(questions) > MOST_REQUESTS and KNOWN["crypto"] in questions:
        questions.remove(KNOWN["crypto"])
    return [q._replace(symbol=q.symbols.get(vendor, q.symbol)) for q in questions[:MOST_REQUESTS]]


def vendor_answers(
    selector: ProviderSelector,
    vendors: Sequence[str],
    clock: Clock,
    *,
    reach_s: float = _REACH_S,
    within_s: float = _WITHIN_S,
) -> list[Answer]:
    """Ask all vendors at once, and return their answers in the order of ``vendors``.

    A failure of one vendor does not affect the others. If no vendor can be reached, none is asked.

    Args:
        selector: Selector with the rules and keys to use.
        vendors: Canonical names.
        clock: Clock for the time of the requests.
        reach_s, within_s: Seconds for the first contact and, after it, for all answers.
    """
    answers: dict[str, list[Answer]] = {}
    ready: dict[str, BaseDataDownloader] = {}
    for name in vendors:
        obstacle, downloader = obstacle_of(selector, name), selector.downloader(name)
        if downloader is None or not is_ours(downloader):
            reason = "no key" if obstacle.is_key else "not usable"
            answers[name] = [Answer(name, "", reason, obstacle.reason)]
        else:
            ready[name] = downloader
    reached = reach_all({name: one.base_url for name, one in ready.items()}, reach_s)
    # A gateway on this machine says nothing about the network.
    is_online = any(r.ok and ready[name].base_url.startswith("http") for name, r in reached.items())
    threads, until = list[threading.Thread](), time.monotonic() + within_s
    for name, downloader in ready.items():
        answers[name] = asked = [Answer(name, _text(known)) for known in known_of(name)]
        result = reached[name]
        # A vendor that is slow to answer the first contact is asked if another one was reached.
        if result.ok or (is_online and result.seconds >= reach_s):
            work = (selector, downloader, clock, within_s, asked)
            threads.append(threading.Thread(target=_ask_all, args=work, daemon=True))
            threads[-1].start()
        else:
            asked[:] = [Answer(name, "", "unreachable", result.refusal)]
    for thread in threads:
        thread.join(max(0.0, until - time.monotonic()))
    return _with_shared_cause([answer for name in vendors for answer in list(answers[name])])


def table_of(answers: Sequence[Answer], now_ms: int) -> list[str]:
    """Return the lines of a dated Markdown table of the answers."""
    rows = [("vendor", "question", "answer", "detail", "requests"), ("---",) * 5]
    rows += [(a.vendor, a.question, a.answer, a.detail, f"{a.requests}") for a in answers]
    cells = ([cell.replace("|", "/").replace("\n", " ") for cell in row] for row in rows)
    lines = [f"| {' | '.join(row)} |" for row in cells]
    return [f"onetape {__version__}, asked on {date_of(now_ms)} (UTC):", "", *lines]


def _text(known: Known) -> str:
    days = list(known.closes)
    split = f", split {known.split[1]}:1" if known.split[0] else ""
    return f"{known.symbol} 1d {days[0]} .. {days[-1]}{split}"


def _ask_all(
    selector: ProviderSelector,
    downloader: BaseDataDownloader,
    clock: Clock,
    within_s: float,
    answers: list[Answer],
) -> None:
    for at, known in enumerate(known_of(downloader.name)):
        try:
            fetched = run_call(clock, within_s, _fetch, selector, downloader, known, clock.now_ms())
            wrong = _difference(fetched, known)
            found, detail = ("differs" if wrong else "right"), wrong
            answers[at] = replace(
                answers[at], answer=found, detail=detail, requests=fetched.requests
            )
        except Exception as error:  # noqa: BLE001 - reported: one vendor must not end the others
            answers[at] = replace(answers[at], answer=_named(error), detail=str(error))
            if isinstance(error, AuthenticationError | RateLimitedError):
                answers[at + 1 :] = [
                    replace(answers[at], question=a.question) for a in answers[at + 1 :]
                ]
                return


def _fetch(
    selector: ProviderSelector, downloader: BaseDataDownloader, known: Known, now_ms: int
) -> Fetched:
    days = [parse_iso(day) for day in known.closes]
    span = Span(days[0], days[-1] + DAY_MS)
    query = FetchQuery(selector.instrument(known.symbol), _DAILY, span, now_ms)
    return fetch_bars(downloader, query, downloader.name)


def _named(error: Exception) -> str:
    if isinstance(error, ResponseFormatError) and error.is_page:
        return _PAGE
    return next((text for kind, text in _ANSWERS if isinstance(error, kind)), "failed")


def _difference(fetched: Fetched, known: Known) -> str:
    """Return what differs from the known closes, on the basis of the vendor's prices; else ``""``."""
    table, (split_day, ratio) = fetched.table, known.split
    found = {f"{date_of(stamp)}": i for i, stamp in enumerate(table.stamps.tolist())}
    wrong = [f"no bar of {day}" for day in known.closes if day not in found]
    wrong += [f"a bar of {day}" for day in found if min(known.closes) <= day <= max(known.closes)
              and day not in known.closes]  # fmt: skip
    adjusted = fetched.basis.adjustment != "raw"
    # Dividends lower old prices by less than a tenth in ten years; only the split can be checked.
    tolerance = 0.2 if fetched.basis.adjustment == "all" else known.tolerance
    for day, as_traded in known.closes.items():
        close = as_traded / ratio if adjusted and day < split_day else as_traded
        if day in found and not abs(table.close[found[day]] / close - 1) <= tolerance:
            wrong.append(f"close of {day} is {table.close[found[day]]:.10g}, not {close:.10g}")
    if split_day and fetched.actions is not None:
        told = [
            (f"{a.ex_date}", a.numerator, a.denominator)
            for a in fetched.actions
            if a.type == "split"
        ]
        if told != [(split_day, ratio, 1)]:
            wrong.append(f"splits are {told or 'not reported'}, not {ratio}:1 on {split_day}")
    return "; ".join(wrong)


def _with_shared_cause(answers: list[Answer]) -> list[Answer]:
    """Name a proxy or a login page if each of several vendors that were reached answers a page."""
    reached = [
        a for a in answers if a.answer not in ("no key", "not usable", "unreachable", "late")
    ]
    if len({a.vendor for a in reached}) < 2 or any(a.answer != _PAGE for a in reached):
        return answers
    cause = "all vendors answer a page: a proxy or a login page of the network answers for them"
    return [replace(a, detail=f"{cause}; {a.detail}") if a in reached else a for a in answers]
