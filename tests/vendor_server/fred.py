"""FRED: the days on which values were published, and the values as they stood on these days."""

from __future__ import annotations

from datetime import date
from typing import Any, ClassVar

from .face import STATUS, Context, Face, Reason, Reply, Request
from .keyed import KEY
from .listings import Listing

_LAST = date(9999, 12, 31)
Published = tuple[str, str, str]


class Fred(Face):
    """Macro series; the parameter ``vintage_date`` is accepted and ignored.

    Attributes:
        series: by ID, every publication in ascending order: the day, the period, and the value as
            text (``.`` for none, empty if it is withdrawn).
    """

    name: ClassVar[str] = "fred"

    def __init__(self) -> None:
        self.key = KEY
        self.series: dict[str, list[Published]] = {
            "CPIAUCSL": [
                ("2024-01-11", "2023-12-01", "308.850"),
                ("2024-02-13", "2024-01-01", "309.685"),
                ("2025-02-12", "2024-01-01", "309.698"),
            ]
        }

    def spelling(self, listing: Listing) -> str | None:
        """No listing has a macro series."""
        return None

    def symbol_in(self, request: Request) -> str | None:
        """Return the ID asked for."""
        return request.params.get("series_id")

    def refusal(self, reason: Reason, now_ms: int) -> Reply:
        """Answer what FRED says with status 400, or with the status of the reason."""
        words = {
            "unauthorized": "Bad Request.  The value for variable api_key is not registered.",
            "unknown_symbol": "Bad Request.  The series does not exist.",
        }.get(reason)
        status = STATUS[reason] if words is None else 400
        return Reply.json({"error_code": status, "error_message": words or reason}, status)

    def answer(self, request: Request, context: Context) -> Reply:
        """Answer the vintages or the observations of a series."""
        asked = request.params
        if asked.get("api_key") != self.key:
            return self.refusal("unauthorized", context.now_ms)
        published = self.series.get(asked.get("series_id", ""))
        if published is None:
            return self.refusal("unknown_symbol", context.now_ms)
        today = date.fromtimestamp(context.now_ms / 1000).isoformat()
        known = [each for each in published if each[0] <= today]
        if request.path == "/series/vintagedates":
            return _page("vintage_dates", sorted({day for day, _, _ in known}), asked)
        if request.path != "/series/observations":
            return Reply.text("404 page not found", 404)
        first, last = asked.get("realtime_start", today), asked.get("realtime_end", today)
        if len({day for day, _, _ in known if first <= day <= last}) > 2000:
            text = "Bad Request.  The number of vintage dates is above 2000."
            return Reply.json({"error_code": 400, "error_message": text}, 400)
        return _page("observations", list(_valid(known, first, last)), asked)


def _valid(published: list[Published], first: str, last: str) -> list[dict[str, str]]:
    """Return the values that stood on a day from ``first`` to ``last``, with these days."""
    rows = []
    for period in sorted({each[1] for each in published}):
        changes = [(day, text) for day, of, text in published if of == period]
        for (day, text), (following, _) in zip(
            changes, [*changes[1:], (_LAST.isoformat(), "")], strict=True
        ):
            until = following
            if following != _LAST.isoformat():
                until = date.fromordinal(date.fromisoformat(following).toordinal() - 1).isoformat()
            if text and day <= last and until >= first:
                start, end = max(day, first), min(until, last)
                rows.append(
                    {"realtime_start": start, "realtime_end": end, "date": period, "value": text}
                )
    return rows


def _page(name: str, rows: list[Any], asked: Any) -> Reply:
    start, most = int(asked.get("offset", 0)), int(asked.get("limit", 100_000))
    return Reply.json({"count": len(rows), "offset": start, name: rows[start : start + most]})
