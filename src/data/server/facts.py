"""Answers to questions about an installation, each with its time, age, kind, vendors and digest."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from glob import escape
from typing import TYPE_CHECKING, Any

from ..core.bars.client import Wishes
from ..core.model.answer.proof import fingerprint
from ..core.model.answer.provenance import ATTRS_KEY
from ..core.model.display.texts import Line, counted, duration
from ..core.model.market.fundamentals import canonical_type
from ..core.model.stored.outside import is_own_error, is_own_reason, of_others, sends_nothing
from ..core.model.stored.reasons import UNCACHED, sentence
from ..core.model.time.instant import HOUR_MS, SECOND_MS, date_of, iso, parse_iso
from ..core.model.time.timeframe import Timeframe
from ..core.model.words.printable import printable
from ..errors import DataError, QueryError
from ..jobs.fill.freshness import market_age_ms
from ..jobs.validation.verify import VerifyQuestion, verify_with

if TYPE_CHECKING:
    import pandas as pd

    from ..core.model.identity.series import SeriesKey
    from ..core.model.request.query import BarsQuery
    from ..data_manager import DataManager

__all__ = [
    "MAY_FETCH",
    "MOST_BYTES",
    "PRICES",
    "Answer",
    "Facts",
    "as_json",
    "refusal",
    "stamps_of",
    "untrusted",
]

# Maximum size of an answer to an agent, in bytes of UTF-8.
MOST_BYTES = 20_000
# Number of gaps that an answer with bars lists.
_GAPS = 5
# Longer ages are in hours: a day of open market has 6.5 hours in one place and 24 in another.
_DAY_HOURS = 24
# Days, for stored copies however old they are.
_ANY_AGE = 1e6
# Number of characters of an error that an answer contains.
_MOST_TEXT = 1_000
# What an answer contains at least.
_LEAST = (
    "as_of",
    "age",
    "kind",
    "unit",
    "currency",
    "vendors",
    "total",
    "returned",
    "digest",
    "note",
)
# What allows requests.
MAY_FETCH = "start `onetape mcp` with --may-fetch"
_NOT_COMPARED = "Nothing was compared; error has the reason."
_SHORTER = "give start and end of a shorter range, a longer timeframe, or bars"
PRICES = ("open", "high", "low", "close", "volume")


def untrusted(text: Any) -> Any:
    """Mark a text that comes from outside, so that a reader treats it as data, not as instructions."""
    return {"untrusted": printable(text)} if isinstance(text, str) and text else None


def marked(reason: Any, provider: str | None = None) -> Any:
    """Return a reason for a gap or a state; it is marked as untrusted if it may quote a vendor.

    Args:
        reason: The reason; None or NaN for none.
        provider: The only vendor whose words it may contain, if known.
    """
    if isinstance(reason, str) and is_own_reason(reason, provider):
        return printable(reason)
    return untrusted(reason)


def refusal(error: DataError, facts: Facts, following: str = "") -> dict[str, Any]:
    """Return an error as an answer in words, marked as untrusted if it may quote a vendor.

    Args:
        error: The error.
        facts: Facts that could not be found.
        following: Next step, in place of the error's hint.
    """
    mark = printable if is_own_error(error, is_sent=facts.may_fetch) else untrusted
    return {
        "as_of": iso(facts.now_ms),
        "note": "There is no answer. Do not estimate one.",
        "why": mark(str(error.args[0] if error.args else error)[:_MOST_TEXT]),
        "next": following or mark((error.hint or "")[:_MOST_TEXT]),
    }


@dataclass(frozen=True)
class Answer:
    """An answer to one question.

    Attributes:
        facts: Facts about the answer, which are always returned.
        rows: Rows of the answer.
        empty: Sentence that is returned if there is no row.
        narrow: Advice on how to ask for fewer rows.
        columns: Names of the values in a row; empty if each row has its own names.
        frame: Bars that the rows are made of; their digest is that of ``fingerprint``.
    """

    facts: Mapping[str, Any]
    rows: Sequence[Any]
    empty: str
    narrow: str = "ask for less"
    columns: tuple[str, ...] = ()
    frame: pd.DataFrame | None = field(default=None, compare=False)

    def row(self, index: int) -> dict[str, Any]:
        """Return a row as a dictionary, keyed by column."""
        return dict(zip(self.columns, self.rows[index], strict=True))

    @property
    def digest(self) -> str:
        """The digest of all rows, whether they are returned or not."""
        if self.frame is not None:
            return fingerprint(self.frame)
        return f"sha256:{hashlib.sha256(as_json(self.rows).encode()).hexdigest()}"

    @property
    def is_lacking(self) -> bool:
        """Whether a request could add to the answer."""
        is_missed = any(gap["reason"] == UNCACHED for gap in self.facts.get("gaps", ()))
        return is_missed or not (self.rows or self.facts.get("complete"))

    def to_json(self) -> dict[str, Any]:
        """Return the whole answer as a JSON-serializable dictionary."""
        total = len(self.rows)
        counts = {"total": total, "returned": total, "digest": self.digest}
        if not total:
            return {**self.facts, **counts, "note": self.empty}
        columns = {"columns": list(self.columns)} if self.columns else {}
        return {**self.facts, **counts, **columns, "rows": list(self.rows)}

    def text(self, most: int = MOST_BYTES) -> str:
        """Return the answer as JSON of limited size.

        If it is larger, it contains no row at all, but their number, the first and the last one
        (unless they are too large themselves), and how to ask for fewer: a part of them could be
        taken for all. Facts that are too large, such as long reasons for gaps, are omitted.
        """
        whole = self.to_json()
        text = as_json(whole)
        if len(text.encode()) <= most:
            return text
        tries = list[dict[str, Any]]()
        if rows := whole.pop("rows", None):
            note = f"{counted(len(rows), 'row')} do not fit into one answer: {self.narrow}."
            whole |= {"returned": 0, "note": note}
            tries = [{**whole, "ends": {"first": rows[0], "last": rows[-1]}}, whole]
        texts = [as_json(one) for one in (*tries, {name: whole.get(name) for name in _LEAST})]
        return next((text for text in texts if len(text.encode()) <= most), texts[-1])


def as_json(value: Any) -> str:
    """Return a value as compact JSON."""
    return json.dumps(value, ensure_ascii=False, separators=(",", ":"), allow_nan=False)


class Facts:
    """Answers questions with the stored data of a data manager. Thread-safe.

    Args:
        manager: Data manager.
        may_fetch: Whether vendors may be queried for data that is missing.
        moment: Time as of which everything is answered, as for ``manager.at``; None means now.

    Raises:
        BadRangeError: The time is invalid, or in the future.
    """

    def __init__(
        self, manager: DataManager, *, may_fetch: bool = False, moment: str | None = None
    ) -> None:
        self._all, self.may_fetch = manager, may_fetch
        self.manager = manager if moment is None else manager.at(moment)

    @property
    def now_ms(self) -> int:
        """The time of the answers: now, or the time that the manager answers as of."""
        now_ms: int = getattr(self.manager, "known_ms", self._all.client.clock.now_ms())
        return now_ms

    @property
    def is_past(self) -> bool:
        """Whether the answers are as of a past time."""
        return self.manager is not self._all

    def query(
        self,
        symbol: str,
        timeframe: str,
        *,
        start: str | None = None,
        end: str | None = None,
        bars: int | None = None,
        **options: Any,
    ) -> BarsQuery:
        """Return the query for bars; for the arguments, see ``DataManager.get_ohlcv``.

        The options are ``adjustment``, ``session`` and ``provider``.

        If vendors may not be queried and neither start nor end is given, the bars end with the last
        stored one, however old it is. A sample or own files that the query names as its vendor are
        read in any case, because this sends nothing.

        Raises:
            QueryError: An argument is invalid.
        """
        asked, wishes = (symbol, timeframe, start, end, bars), Wishes(**options)
        query = self.manager.client.query(*asked, wishes)
        wishes = replace(wishes, offline=not self.may_ask(query))
        if start is None and end is None:
            wishes = replace(wishes, closed_by=self._end(replace(query, offline=wishes.offline)))
        return self.manager.client.query(*asked, wishes)

    def may_ask(self, query: BarsQuery) -> bool:
        """Return whether vendors may be queried: all may, or the query names one that sends nothing."""
        return self.may_fetch or sends_nothing(query.provider)

    def _end(self, query: BarsQuery) -> str | None:
        """Return the time by which the last stored bar, or that of a sample, had closed.

        The result is None if it is not past, or if later bars may be requested.
        """
        if query.key.is_sample and not query.key.of_folder:
            daily = (query.instrument.symbol, "1d", None, None, 1, Wishes(provider=query.provider))
            last = self.manager.client.get(self.manager.client.query(*daily))
            return None if last.empty else str(last.index[-1].date())
        if not (query.offline or query.key.is_sample):
            return None
        spans = [one for key in self.stored_for(query) for one in self.manager.client.coverage(key)]
        end = max((one.span.end for one in spans if one.state != "empty"), default=self.now_ms)
        if end >= self.now_ms:
            return None
        return iso(end) if query.timeframe.is_intraday else str(date_of(end - 1))

    def stored_for(self, query: BarsQuery) -> list[SeriesKey]:
        """Return the stored series whose bars answer a query: its own, or those of shorter bars."""
        client, wanted = self.manager.client, query.timeframe.longest_ms
        lanes = client.lanes(query.instrument.symbol, query.timeframe)
        if query.provider and (keys := client.of_vendor(lanes, query.provider)):
            return keys
        own = client.series_of(query)
        if client.coverage(own):
            return [own]
        if source := client.explain(query).source:
            return self.stored_for(replace(query, timeframe=Timeframe.parse(source)))
        stored = map(Timeframe.parse, self.timeframes(query.instrument.symbol))
        shorter = [one for one in stored if not wanted % one.longest_ms and one != query.timeframe]
        return [client.series_of(replace(query, timeframe=one)) for one in shorter]

    def bars(
        self, symbol: str, timeframe: str, against: str | None = None, **options: Any
    ) -> Answer:
        """Return bars; see :meth:`query` for the options.

        With ``against``, the answer is instead the differences from that vendor's bars.
        """
        if against is not None:
            return self._compare(symbol, timeframe, against, **options)
        query = self.query(symbol, timeframe, **options)
        frame = self.manager.client.get(query)
        columns = [name for name in PRICES if name in frame.columns]
        return Answer(
            self.about(frame.attrs[ATTRS_KEY], query),
            _rows(frame, columns),
            f"No bars of {symbol} {timeframe} are known in this range; do not estimate any.",
            _SHORTER,
            ("opened", *columns),
            frame,
        )

    def features(self, symbol: str, timeframe: str, recipes: str, **bounds: Any) -> Answer:
        """Return numbers computed from closed bars.

        Args:
            symbol, timeframe: Series of the bars.
            recipes: Recipes, separated by spaces, such as ``rsi:14 vol:20``.
            bounds: ``start``, ``end``, ``bars`` and ``provider``, see :meth:`query`.

        Raises:
            QueryError: An argument or a recipe is invalid.
        """
        query = self.query(symbol, timeframe, **bounds)
        # Numbers from reports come from other vendors than the bars.
        is_offline = not self.may_fetch if "fund:" in recipes else query.offline
        options = {**bounds, "offline": is_offline, "progress": lambda _: None}
        if bounds.get("start") is None and bounds.get("end") is None:
            options["closed_by"] = self._end(query)
        # A list of recipes, because one text may be the path of a file.
        frame = self.manager.features([symbol], timeframe, recipes=recipes.split(), **options)
        found = frame.attrs[ATTRS_KEY]
        (facts,) = found["symbols"].values()
        if found["failed"]:
            self.manager.client.get(query)  # raises the error
        columns = list(frame.columns[2:-1])
        rows = _rows(frame.set_index("timestamp"), columns)
        lacks = next(iter(found["lead_missing"].values()), None)
        return Answer(
            self.about(facts, query)
            | {"unit": None, "complete": found["complete"]}
            | {"lead_missing": marked(lacks, query.provider)},
            rows,
            f"No bars of {symbol} {timeframe} are known in this range, so nothing was computed; "
            "do not estimate any.",
            _SHORTER,
            ("opened", *columns),
        )

    def about(self, facts: Mapping[str, Any], query: BarsQuery) -> dict[str, Any]:
        """Return the facts about an answer with bars: kind, unit, vendors, age and gaps.

        Args:
            facts: Provenance of the bars.
            query: Query for them.
        """
        kind, last = facts["kind"], facts["last"]
        age = None
        if last is not None:
            anchor = kind.get("anchor", "session")
            age = market_age_ms(query, anchor, parse_iso(last), self.now_ms)
        return {
            "symbol": facts["symbol"],
            "timeframe": facts["timeframe"],
            "as_of": iso(self.now_ms),
            "first": facts["first"],
            "last": last,
            **_age(age),
            "is_live": False,
            "kind": {**kind, "adjustment": facts["adjustment"]},
            "adjusted_as_of": facts["as_of"],
            "unit": kind.get("unit"),
            "currency": kind.get("unit"),
            "vendors": list(facts["vendors"]),
            "states": _distinct(span["state"] for span in facts["spans"]),
            "is_sample": bool(facts.get("sample")),
            "is_made_up": bool(facts.get("made_up")),
            "substitute": facts["substitute"],
            "complete": facts["complete"],
            "gaps": [
                {**gap, "reason": marked(gap["reason"], query.provider)}
                for gap in facts["gaps"][:_GAPS]
            ],
            "gaps_total": facts["gaps_total"],
            "generation": facts["generation"],
        }

    def newest(self, symbol: str, provider: str | None = None) -> str | None:
        """Return the timeframe of the series whose last bar is the youngest; None if there is none."""
        ages = list[tuple[float, int, str]]()
        for label in self.timeframes(symbol, provider):
            try:
                facts = self.bars(symbol, label, bars=1, provider=provider).facts
            except DataError:
                continue
            if facts["last"] is not None:
                ages.append((facts["age_seconds"], len(ages), label))
        return min(ages)[2] if ages else None

    def timeframes(self, symbol: str, provider: str | None = None) -> list[str]:
        """Return the timeframes of the stored series that answer for a symbol.

        They are those of the rules, or of one vendor; ``1d`` is added if it can be requested.
        """
        client = self.manager.client
        query = client.query(symbol, "1d", wishes=Wishes(provider=provider))
        keys = client.series(escape(query.instrument.symbol))
        keys = client.of_vendor(keys, provider) if provider else client.answering(keys)
        labels = dict.fromkeys(key.timeframe.label for key in keys)
        return list(labels | ({"1d": None} if self.may_ask(query) else {}))

    def coverage(self, symbol: str, timeframe: str, provider: str | None = None) -> Answer:
        """Return the stored spans of a series and its gaps, each with the command that fills it."""
        frame = self.manager.coverage(symbol, timeframe, provider)
        rows = [
            _plain(row) | {"reason": marked(row["reason"], row["vendor"])}
            for row in frame.to_dict("records")
        ]
        found = self.manager.gaps(symbol, timeframe, provider=provider).gaps if rows else []
        gaps = [_plain(gap.as_dict(), *["evidence"] * gap.may_quote) for gap in found]
        vendors = [row["vendor"] for row in rows]
        facts = self._facts(vendors, symbol=symbol, timeframe=timeframe)
        rows += [{"gap": gap} for gap in gaps]
        return Answer(
            facts | {"gaps_total": len(gaps)},
            rows,
            f"Nothing is stored for {symbol} {timeframe}, and no span is recorded as empty.",
            "ask for a longer timeframe, or for the bars of the range that matters",
        )

    def explain(
        self, symbol: str, timeframe: str = "1d", about: str = "vendors", **asked: Any
    ) -> Answer:
        """Return the vendors that a request would query, those it would not, and what is stored.

        As of a past time, what is stored and which days vendors lack is omitted, because it is what
        the cache has today. Nothing is sent.

        Args:
            symbol, timeframe: The series.
            about: ``vendors``; ``plan`` for the requests that a range would cost; ``sessions`` for
                the sessions of the market in a range.
            asked: ``start``, ``end`` and ``provider``.
        """
        if about == "sessions":
            return self._sessions(symbol, asked.get("start"), asked.get("end"))
        client = self.manager.client
        if about == "plan":
            plan = self.manager.plan(symbol, timeframe, **asked)
            cost = dict[str, Any](possible=plan.is_possible, bars_missing=plan.missing)
            cost |= {"requests": plan.requests, "units_by_vendor": plan.units}
            cost |= {"wait_seconds": plan.wait_s, "seconds": plan.takes_s}
            cost |= {"cost": plan.verdict, "is_hit": plan.is_hit}
            facts = self._facts(plan.units, symbol=plan.symbol, timeframe=timeframe)
            quoted = [health.reason for health in plan.health] + of_others(plan.rejected)
            query = client.query(symbol, timeframe, wishes=Wishes(provider=asked.get("provider")))
            stored = [one for key in self.stored_for(query) for one in client.coverage(key)]
            quoted += [sentence(one.reason) for one in stored if not is_own_reason(one.reason)]
            return Answer(facts | cost, _rows_of_lines(plan.lines(), quoted), "No request.")
        found = self.manager.explain(symbol, timeframe, **asked)
        plain = found.to_json()
        names = ("is_served", "instrument", "rule") + (() if self.is_past else ("stored",))
        facts = self._facts(found.named, symbol=plain["symbol"], timeframe=timeframe)
        facts |= {name: plain[name] for name in names}
        facts |= {"unit": plain["instrument"]["quote"], "currency": plain["instrument"]["quote"]}
        lines = [
            line
            for line in found.lines()
            if not (self.is_past and line[0] in ("cached", "incident"))
        ]
        quoted = [way.health.reason for way in found.ways] + of_others(found.unasked)
        return Answer(facts, _rows_of_lines(lines, quoted), "No vendor serves these bars.")

    def _sessions(self, symbol: str, start: str | None, end: str | None) -> Answer:
        """Return the sessions of a symbol's market."""
        if start is None or end is None:
            raise QueryError("sessions need a range", hint="give start and end, both inclusive")
        columns = ("session", "open_utc", "close_utc", "early_close")
        frame = self.manager.sessions(symbol, start, end).reset_index()
        days = frame[["session", "open", "close", "early_close"]].to_dict("records")
        rows = [list(_plain(day).values()) for day in days]
        facts = self._facts((), symbol=symbol)
        return Answer(facts, rows, "No session is in this range.", "shorter range", columns)

    def _compare(self, symbol: str, timeframe: str, against: str, **asked: Any) -> Answer:
        """Return the bars that differ between two vendors; nothing is stored."""
        others = sorted(asked.keys() - {"start", "end", "provider"})
        if others or self.is_past:
            text = "as of a past time" if self.is_past else f"with {others[0]}"
            raise QueryError(
                f"two vendors cannot be compared {text}",
                hint="use only symbol, timeframe, start, end, provider and against",
            )
        for vendor in filter(None, (asked.get("provider"), against)):
            query = self.manager.client.query(symbol, timeframe, wishes=Wishes(provider=vendor))
            if not self.may_ask(query):
                raise QueryError(f"comparing {query.provider} sends requests", hint=MAY_FETCH)
        question = VerifyQuestion(symbol, timeframe, **asked, against=against)
        (found,) = verify_with(self._all._services, question).to_json()["comparisons"]
        facts = self._facts([found["ours"], found["theirs"]], symbol=symbol, timeframe=timeframe)
        facts |= {"compared": found["rows"], "equal": found["equal"], "remarks": found["remarks"]}
        facts |= {"ok": found["ok"], "error": untrusted(found["error"])}
        empty = "No bar differs." if found["ok"] else _NOT_COMPARED
        return Answer(facts, found["differences"], empty)

    def search(self, text: str, limit: int = 20) -> Answer:
        """Return the symbols whose name or spelling matches a text."""
        found = self.manager.search(text, limit, offline=not self.may_fetch)
        rows = [_plain(one.as_dict(), "name", "venue", "currency") for one in found]
        empty = f"No symbol matches {text[:64]!r}; do not guess one."
        return Answer(self._facts(one.vendor for one in found), rows, empty, "lower limit")

    def actions(self, symbol: str, provider: str | None = None) -> Answer:
        """Return the known splits and dividends whose ex-date has come, with amounts as paid."""
        client = self.manager.client
        query = client.query(symbol, "1d", wishes=Wishes(provider=provider))
        if self.may_ask(query):
            self.manager.get_actions(symbol, provider=provider)
        day = client.last_ex_date(symbol)
        known = client.actions(symbol, query.action_key, is_alone=True)
        rows = []
        come = (row for action in known if action.action.ex_date <= day for row in action.by_kind)
        for one in (row.to_json() for row in come):
            del one["amount"]  # in terms of today's shares
            rows.append(_plain(one))
        facts = self._facts((row["source"] for row in rows), symbol=symbol)
        facts["currency"] = ", ".join(_distinct(row["currency"] or "" for row in rows)) or None
        empty = f"No split or dividend of {symbol} is known here; that is not proof of none."
        return Answer(facts, rows, empty)

    def fundamentals(
        self, symbol: str, data_type: str = "profile", provider: str | None = None
    ) -> Answer:
        """Return the facts about a company or coin, each with its vendor, unit and period."""
        record, asked = dict[str, Any](), None if provider is None else [provider]
        if self.may_fetch:
            record = self.manager.get_fundamentals(symbol, asked, data_type=data_type)
        elif vendors := [
            name for name in self._stored_vendors(symbol, data_type) if provider in (None, name)
        ]:
            # Copies of any age from exactly these vendors: none is left to query.
            record = self.manager.get_fundamentals(
                symbol, vendors, data_type=data_type, max_age_days=_ANY_AGE
            )
        about = record.get("_metadata", {}).get("fields", {})
        rows = [
            {"field": name, "value": untrusted(value) if isinstance(value, str) else value}
            | dict(about.get(name, {}))
            for name, value in record.items()
            if name != "_metadata" and not isinstance(value, dict | list)
        ]
        facts = self._facts((row.get("source", "") for row in rows), symbol=symbol)
        empty = f"No fundamentals of {symbol} are known here; do not estimate any."
        return Answer(facts, rows, empty, "ask for data_type profile or ratios")

    def _stored_vendors(self, symbol: str, data_type: str) -> list[str]:
        name = self.manager.client.query(symbol, "1d").instrument.symbol
        stored = self._all._services.fundamentals.cache.latest(name, canonical_type(data_type))
        return list(stored)

    def _facts(self, vendors: Iterable[str], **named: Any) -> dict[str, Any]:
        """Return the facts about an answer without bars."""
        nothing = {"age": None, "kind": None, "unit": None, "currency": None}
        return {**named, "as_of": iso(self.now_ms), **nothing, "vendors": _distinct(vendors)}


def _rows_of_lines(lines: Iterable[Line], quoted: Iterable[str]) -> list[Any]:
    """Return lines as rows, marked as untrusted if they contain a text that may quote a vendor."""
    others = [text for text in quoted if text]
    texts = [f"{name}: {text}" for name, text in lines]
    return [
        untrusted(text) if any(one in text for one in others) else printable(text) for text in texts
    ]


def _age(age_ms: int | None) -> dict[str, Any]:
    if age_ms is None:
        return {"age": None, "age_seconds": None}
    hours = round(age_ms / HOUR_MS)
    text = f"{hours:,} hours" if hours >= _DAY_HOURS else duration(age_ms / SECOND_MS)
    return {"age": f"{text} of open market", "age_seconds": age_ms / SECOND_MS}


def stamps_of(frame: pd.DataFrame) -> list[int]:
    """Return the open times of bars, in UTC milliseconds."""
    stamps: list[int] = frame.index.to_numpy().astype("M8[ms]").astype("i8").tolist()
    return stamps


def _rows(frame: pd.DataFrame, columns: list[str]) -> list[list[Any]]:
    """Return rows with the open time of their bar, without midnight, and the values of some columns."""
    stamps = [iso(ms).removesuffix("T00:00:00Z") for ms in stamps_of(frame)]
    values = frame[columns].to_numpy().tolist()
    return [[stamp, *map(_number, row)] for stamp, row in zip(stamps, values, strict=True)]


def _number(value: float) -> float | None:
    """Return a number with ten significant digits, a whole one with all; None instead of NaN."""
    if value != value:
        return None
    return int(value) if value.is_integer() else float(f"{value:.10g}")


def _plain(row: Mapping[Any, Any], *marked: str) -> dict[str, Any]:
    """Return a row as JSON values, with times as text and the named texts marked as untrusted."""
    plain = {}
    for name, value in row.items():
        is_time = hasattr(value, "isoformat")
        text = value.isoformat() if is_time and value == value else None if is_time else value
        plain[str(name)] = untrusted(text) if name in marked else text
    return plain


def _distinct(texts: Iterable[str]) -> list[str]:
    return [text for text in dict.fromkeys(texts) if text]
