"""Everything a vendor can do wrong, each with a name and a factory.

A fault works at one of three places: ``instead`` of the answer, on the ``rows`` of a page, or on
the finished ``reply`` (its bytes, headers and the way it goes over the wire).
"""

from __future__ import annotations

import gzip
import zlib
from collections.abc import Callable
from dataclasses import dataclass, replace

from onetape.data.core.model.time.instant import DAY_MS

from .face import Delivery, Face, Page, Reason, Reply, Request, http_date
from .ground_truth import Row

Instead = Callable[[Face, Request, int], Reply]
_HTML = "<!DOCTYPE html><html><head><title>{0}</title></head><body><h1>{0}</h1></body></html>"
_REASONS: dict[int, Reason] = {
    401: "unauthorized", 403: "forbidden", 404: "unknown_symbol", 418: "banned",
    429: "throttled", 451: "restricted",
}  # fmt: skip
_HTML_STATUS = {502: "502 Bad Gateway", 503: "503 Service Unavailable", 504: "504 Gateway Time-out"}


@dataclass(frozen=True)
class Fault:
    """One thing that goes wrong; make it with one of the factories below."""

    name: str
    instead: Instead | None = None
    rows: Callable[[Page], Page] | None = None
    reply: Callable[[Reply], Reply] | None = None

    # --- no answer, or another one

    @classmethod
    def reset(cls) -> Fault:
        """The connection is reset as soon as the request is read."""
        return cls("reset", instead=lambda *_: Reply(200, b"", delivery=Delivery("reset")))

    @classmethod
    def hang(cls) -> Fault:
        """No byte comes back until ``heal`` or ``stop``; then the connection closes."""
        return cls("hang", instead=lambda *_: Reply(200, b"", delivery=Delivery("hang")))

    @classmethod
    def hold(cls) -> Fault:
        """The answer waits for ``heal`` or ``stop``, then comes as it should."""
        return cls("hold", reply=lambda r: replace(r, delivery=Delivery("hold")))

    @classmethod
    def lost(cls) -> Fault:
        """The request is carried out; the connection is reset before a byte of the answer."""
        return cls("lost", reply=lambda r: replace(r, delivery=Delivery("reset")))

    @classmethod
    def status(cls, code: int, body: str | None = None) -> Fault:
        """That HTTP status, in the vendor's own words where it has some, or with ``body``.

        502 to 504 are the HTML of a proxy.
        """

        def instead(face: Face, _: Request, now_ms: int) -> Reply:
            if body is not None:
                return Reply.text(body, code)
            if code in _HTML_STATUS:
                return Reply.text(_HTML.format(_HTML_STATUS[code]), code, "text/html")
            return replace(face.refusal(_REASONS.get(code, "down"), now_ms), status=code)

        return cls(f"status {code}", instead=instead)

    @classmethod
    def throttle(
        cls, retry_after: float | None = 30, *, http_date_form: bool = False, code: int = 429
    ) -> Fault:
        """429 with ``Retry-After`` in seconds or as a date; 418 is Binance's ban."""

        def instead(face: Face, _: Request, now_ms: int) -> Reply:
            refused = replace(face.refusal(_REASONS[code], now_ms), status=code)
            if retry_after is None:
                return refused
            until = http_date(now_ms + round(retry_after * 1000))
            value = until if http_date_form else f"{retry_after:g}"
            return face.throttled(refused, retry_after, value)

        return cls(f"throttle {code}", instead=instead)

    @classmethod
    def ban(cls, retry_after: float = 120) -> Fault:
        """418 with ``Retry-After``: the address is banned."""
        return cls.throttle(retry_after, code=418)

    @classmethod
    def unknown_symbol(cls) -> Fault:
        """The vendor says it does not know the symbol."""
        return cls.refuse("unknown_symbol")

    @classmethod
    def refuse(cls, reason: Reason) -> Fault:
        """The vendor refuses, with its own words and its own status."""
        return cls(f"refuse {reason}", instead=lambda face, _, now: face.refusal(reason, now))

    @classmethod
    def redirect(cls, location: str = "", code: int = 302) -> Fault:
        """A redirect; without ``location`` to the same server under another host name."""
        return cls("redirect", instead=lambda *_: Reply(code, b"", {"Location": location}))

    @classmethod
    def lie(cls, payload: str = "error") -> Fault:
        """HTTP 200 with ``error`` (the vendor's refusal), ``html``, or ``payload`` as it stands.

        Useful payloads: an empty text, ``{}``, ``[]``, ``null``, ``"text"``.
        """

        def instead(face: Face, _: Request, now_ms: int) -> Reply:
            if payload == "error":
                return replace(face.refusal("throttled", now_ms), status=200)
            if payload == "html":
                return Reply.text(_HTML.format("Please enable cookies"), 200, "text/html")
            return Reply.text(payload, 200, "application/json")

        return cls(f"lie {payload[:20]!r}", instead=instead)

    # --- wrong rows

    @classmethod
    def on_rows(cls, name: str, change: Callable[[Page], Page]) -> Fault:
        """Any other change of a page."""
        return cls(name, rows=change)

    @classmethod
    def drop(cls, *places: int) -> Fault:
        """The rows at these places are missing; negative places count from the end."""
        return cls(
            f"drop {places}",
            rows=lambda p: p.pick([i for i in range(len(p)) if i not in _at(p, places)]),
        )

    @classmethod
    def drop_stamps(cls, *stamps_ms: int) -> Fault:
        """The bars with these stamps (of the truth, milliseconds) are missing."""
        return cls(
            "drop stamps",
            rows=lambda p: p.pick([i for i, r in enumerate(p.rows) if r.stamp_ms not in stamps_ms]),
        )

    @classmethod
    def newest_first(cls) -> Fault:
        """The rows come in the other direction."""
        return cls("newest first", rows=lambda p: p.pick(list(range(len(p)))[::-1]))

    @classmethod
    def shuffle(cls) -> Fault:
        """The rows come in no order: those at odd places first."""
        return cls("shuffle", rows=lambda p: p.pick([*range(1, len(p), 2), *range(0, len(p), 2)]))

    @classmethod
    def duplicate(cls, *places: int) -> Fault:
        """The rows at these places come twice."""
        return cls(
            f"duplicate {places}",
            rows=lambda p: p.pick(sorted([*range(len(p)), *_at(p, places)])),
        )

    @classmethod
    def nulls(cls, *places: int) -> Fault:
        """The rows at these places are there, with null for every value."""
        return cls(f"nulls {places}", rows=lambda p: _changed(p, places, lambda r: r.emptied()))

    @classmethod
    def bad_ohlc(cls, *places: int) -> Fault:
        """The rows at these places have a high below their low."""

        def swap(row: Row) -> Row:
            return row._replace(high=(row.low or 0.0) * 0.9, low=(row.high or 0.0) * 1.1)

        return cls(f"bad ohlc {places}", rows=lambda p: _changed(p, places, swap))

    @classmethod
    def rescale(cls, factor: float, *places: int) -> Fault:
        """Prices are multiplied, of all rows or of those at ``places``: pence for pounds."""

        def change(row: Row) -> Row:
            o, h, low, c = (None if x is None else x * factor for x in row[1:5])
            adjusted = None if row.adj_close is None else row.adj_close * factor
            return row._replace(open=o, high=h, low=low, close=c, adj_close=adjusted)

        return cls(
            f"rescale {factor:g}",
            rows=lambda p: _changed(p, places or tuple(range(len(p))), change),
        )

    @classmethod
    def stray(cls, before: int = 1, after: int = 1, gap_ms: int = DAY_MS) -> Fault:
        """Rows outside the window stand at both ends, ``gap_ms`` apart."""

        def change(page: Page) -> Page:
            if not len(page):
                return page
            early = range(-before, 0)
            late = range(1, after + 1)
            first, last = page.labels[0], page.labels[-1]
            labels = [first + i * gap_ms for i in early], [last + i * gap_ms for i in late]
            rows = (*[page.rows[0]] * before, *page.rows, *[page.rows[-1]] * after)
            return replace(page, labels=(*labels[0], *page.labels, *labels[1]), rows=rows)

        return cls("stray", rows=change)

    @classmethod
    def stamps_in(cls, unit: str) -> Fault:
        """Stamps come in another unit: ``s``, ``ms``, ``us`` or ``ns``."""
        per_second = {"s": 1, "ms": 10**3, "us": 10**6, "ns": 10**9}[unit]
        return cls(f"stamps in {unit}", rows=lambda p: replace(p, per_second=per_second))

    @classmethod
    def cap(cls, rows: int) -> Fault:
        """A page holds at most so many rows and the newest of the window are left out."""
        return cls(f"cap {rows}", rows=lambda p: p.pick(list(range(min(rows, len(p))))))

    @classmethod
    def cap_newest(cls, rows: int) -> Fault:
        """A page holds at most so many rows and the oldest of the window are left out."""
        return cls(f"cap newest {rows}", rows=lambda p: p.pick(list(range(len(p)))[-rows:]))

    @classmethod
    def empty(cls) -> Fault:
        """The vendor has nothing, in its own form."""
        return cls("empty", rows=lambda p: p.pick([]))

    # --- wrong bytes

    @classmethod
    def truncate(cls, share: float = 0.5) -> Fault:
        """The connection closes after that share of the body; ``Content-Length`` promised more."""
        return cls("truncate", reply=lambda r: replace(r, delivery=Delivery("truncate", share)))

    @classmethod
    def cut(cls, share: float = 0.5) -> Fault:
        """The body ends early and ``Content-Length`` agrees: only the JSON is broken."""
        return cls("cut", reply=lambda r: replace(r, body=r.body[: int(len(r.body) * share)]))

    @classmethod
    def stall(cls, share: float = 0.5) -> Fault:
        """That share of the body comes, then nothing until ``heal`` or ``stop``."""
        return cls("stall", reply=lambda r: replace(r, delivery=Delivery("stall", share)))

    @classmethod
    def trickle(cls, chunk: int = 1, pause_s: float = 0.01) -> Fault:
        """The body comes ``chunk`` bytes at a time; ``heal`` or ``stop`` end it."""
        way = Delivery("trickle", chunk=chunk, pause_s=pause_s)
        return cls("trickle", reply=lambda r: replace(r, delivery=way))

    @classmethod
    def drip(cls, pause_s: float = 0.02) -> Fault:
        """Even the status line comes a byte at a time; ``heal`` or ``stop`` end it."""
        way = Delivery("drip", chunk=1, pause_s=pause_s)
        return cls("drip", reply=lambda r: replace(r, delivery=way))

    @classmethod
    def vanish(cls) -> Fault:
        """A good answer, then the kept connection is closed without a word."""
        return cls("vanish", reply=lambda r: replace(r, delivery=Delivery("vanish")))

    @classmethod
    def gzip(cls) -> Fault:
        """The body is compressed."""
        return cls("gzip", reply=lambda r: _encoded(r, gzip.compress(r.body, mtime=0)))

    @classmethod
    def bad_gzip(cls) -> Fault:
        """The header says gzip, the body is not."""
        return cls("bad gzip", reply=lambda r: _encoded(r, r.body))

    @classmethod
    def bomb(cls, megabytes: int = 64) -> Fault:
        """A small compressed body that becomes a huge one."""
        return cls("bomb", reply=lambda r: _encoded(r, _zeros(megabytes)))

    @classmethod
    def header(cls, name: str, value: str) -> Fault:
        """A header is set."""
        return cls(f"header {name}", reply=lambda r: replace(r, headers={**r.headers, name: value}))


def _at(page: Page, places: tuple[int, ...]) -> list[int]:
    """Return the places that exist, counted from the start."""
    size = len(page)
    return [i % size for i in places if -size <= i < size]


def _changed(page: Page, places: tuple[int, ...], change: Callable[[Row], Row]) -> Page:
    chosen = set(_at(page, places))
    rows = tuple(change(r) if i in chosen else r for i, r in enumerate(page.rows))
    return replace(page, rows=rows)


def _encoded(reply: Reply, body: bytes) -> Reply:
    return replace(reply, body=body, headers={**reply.headers, "Content-Encoding": "gzip"})


def _zeros(megabytes: int) -> bytes:
    """Return so many megabytes of blanks, gzip-compressed piece by piece."""
    packer, blanks = zlib.compressobj(9, wbits=31), b" " * (1 << 20)
    return b"".join([packer.compress(blanks) for _ in range(megabytes)] + [packer.flush()])
