"""What a vendor's face is: it reads a request, asks the truth and writes the vendor's own answer.

A face knows nothing of sockets, faults or limits; the server around it does.
"""

from __future__ import annotations

import json
from abc import ABC, abstractmethod
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime
from email.utils import format_datetime
from typing import Any, ClassVar, Literal
from zoneinfo import ZoneInfo

from onetape.data.core.model.identity.kind import Adjustment
from onetape.data.core.model.time.instant import to_ms
from onetape.data.core.model.time.timeframe import Timeframe

from .ground_truth import Row, Truth
from .listings import Listing

Way = Literal["", "reset", "hang", "hold", "stall", "truncate", "trickle", "drip", "vanish"]


@dataclass(frozen=True)
class Request:
    """A request as the face sees it.

    Attributes:
        path: without the vendor's prefix, decoded.
        params: query parameters, the last of equal names.
        headers: with lower-case names.
        body: as it came.
    """

    method: str
    path: str
    params: Mapping[str, str]
    headers: Mapping[str, str]
    body: bytes = b""


@dataclass(frozen=True)
class Delivery:
    """How an answer goes over the wire; see the factories of ``Fault`` for the ways.

    Attributes:
        share: part of the body that is sent before the connection stalls or ends.
        chunk: bytes at a time of a trickle.
        pause_s: seconds between them.
    """

    way: Way = ""
    share: float = 0.5
    chunk: int = 1
    pause_s: float = 0.01


@dataclass(frozen=True)
class Reply:
    """An answer before it is sent."""

    status: int
    body: bytes
    headers: Mapping[str, str] = field(default_factory=dict)
    delivery: Delivery = Delivery()

    @classmethod
    def json(
        cls, payload: Any, status: int = 200, headers: Mapping[str, str] | None = None
    ) -> Reply:
        """Return an answer in JSON."""
        body = json.dumps(payload, separators=(",", ":")).encode()
        named = {"Content-Type": "application/json;charset=utf-8"} | dict(headers or {})
        return cls(status, body, named)

    @classmethod
    def text(cls, text: str, status: int = 200, kind: str = "text/plain") -> Reply:
        """Return an answer in plain text or, with ``kind``, in HTML."""
        return cls(status, text.encode(), {"Content-Type": kind})


@dataclass(frozen=True)
class Page:
    """The rows of one answer before they are written down.

    Attributes:
        labels: the stamp of every row as the vendor would send it, in UTC milliseconds.
        rows: the bars, in the order they will stand in.
        per_second: units of the vendor's stamps in a second; 1000 for milliseconds.
    """

    labels: tuple[int, ...]
    rows: tuple[Row, ...]
    per_second: int = 1000

    def stamps(self) -> list[int]:
        """Return the labels in the vendor's unit."""
        return [label * self.per_second // 1000 for label in self.labels]

    def pick(self, places: list[int]) -> Page:
        """Return the page with the rows at ``places``, in that order."""
        labels = tuple(self.labels[i] for i in places)
        return Page(labels, tuple(self.rows[i] for i in places), self.per_second)

    def __len__(self) -> int:
        return len(self.rows)


@dataclass(frozen=True)
class Context:
    """What a face may use for one answer.

    Attributes:
        vendor: name of the face.
        truth: what truly traded.
        now_ms: the server's time, UTC.
        used_weight: cost of the vendor's requests in this minute, this one included.
        revised: puts provisional values in the place of true ones.
        spoil: lets the faults that touch rows work on a page; every face passes its page through.
    """

    vendor: str
    truth: Truth
    now_ms: int
    used_weight: int
    revised: Callable[[Listing, Timeframe, list[Row]], list[Row]]
    spoil: Callable[[Page], Page]

    def rows(
        self, listing: Listing, frame: Timeframe, window: tuple[int, int],
        adjustment: Adjustment = "raw", anchor: str = "session", *, extended: bool = False,
    ) -> list[Row]:  # fmt: skip
        """Return the bars stamped in the half-open ``window`` as they stand now, forming last."""
        start, end = window
        rows = self.truth.rows(
            listing.symbol, frame.label, start, end, adjustment, self.now_ms,
            anchor=anchor, extended=extended,
        )  # fmt: skip
        return self.revised(listing, frame, rows)


Reason = Literal[
    "unknown_symbol", "throttled", "banned", "unauthorized", "forbidden", "restricted", "down"
]
STATUS: Mapping[str, int] = {
    "unknown_symbol": 404, "throttled": 429, "banned": 418, "unauthorized": 401,
    "forbidden": 403, "restricted": 451, "down": 500,
}  # fmt: skip


class Face(ABC):
    """One vendor's wire format."""

    name: ClassVar[str]

    @abstractmethod
    def spelling(self, listing: Listing) -> str | None:
        """Return how this vendor writes a listing, or None where it does not have it."""

    @abstractmethod
    def symbol_in(self, request: Request) -> str | None:
        """Return the symbol asked for, in the vendor's spelling; faults can be bound to it."""

    @abstractmethod
    def answer(self, request: Request, context: Context) -> Reply:
        """Answer a request as the healthy vendor does."""

    def weight(self, request: Request) -> int:
        """Return the cost of a request against the vendor's limit."""
        return 1

    def refusal(self, reason: Reason, now_ms: int) -> Reply:
        """Return the vendor's own words for a refusal; no ``Retry-After``, the fault adds it."""
        return Reply.json({"error": reason}, STATUS[reason])

    def throttled(self, refused: Reply, retry_after: float, until: str) -> Reply:
        """Return a refusal that says for how many seconds, with ``until`` as ``Retry-After``."""
        return replace(refused, headers={**refused.headers, "Retry-After": until})

    def close(self) -> None:
        """End what waits for something: the server stops."""
        return

    def find(self, spelled: str, truth: Truth) -> Listing | None:
        """Return what this vendor means by a spelling, or None where it knows none."""
        for listing in truth.listings():
            if listing.spellings.get(self.name, self.spelling(listing)) == spelled:
                return listing
        return None


def american(listing: Listing, separator: str) -> str | None:
    """Return how a share of New York is written, its class behind ``separator``; None for others."""
    is_american = listing.asset_class == "stock" and listing.calendar == "XNYS"
    return listing.symbol.replace("-", separator) if is_american else None


def local_midnight(day_ms: int, timezone: str) -> int:
    """Return the UTC instant at which the date stamped ``day_ms`` begins in a zone."""
    day = datetime.fromtimestamp(day_ms / 1000, UTC).replace(tzinfo=ZoneInfo(timezone))
    return to_ms(day)


def http_date(ms: int) -> str:
    """Return a time as HTTP headers write it."""
    return format_datetime(datetime.fromtimestamp(ms // 1000, UTC), usegmt=True)
