"""The sessions that ``exchange_calendars`` publishes as the answers of its own tests, packed.

They are in its source archive alone. ``python -m tests.core.calendars.answer_files`` gets that archive of the
installed version by pip and packs, of every calendar that a symbol can lead to, the sessions from 1990 to
2027: the weekdays without one, the others with one, and the hours wherever they change.
"""

from __future__ import annotations

import csv
import gzip
import io
import json
import subprocess
import sys
import tarfile
import tempfile
from collections.abc import Iterator
from datetime import date, datetime, timedelta
from functools import cache
from importlib.metadata import version
from itertools import accumulate, pairwise
from pathlib import Path
from typing import Any, NamedTuple
from zoneinfo import ZoneInfo

from src.data.core.calendars.library import library_class
from src.data.core.config.rules_file import packaged_rules

PACKED = Path(__file__).with_name("answer_files.json.gz")
_FIRST, _LAST = date(1990, 1, 1), date(2027, 12, 31)


class Published(NamedTuple):
    """Sessions of one calendar: date to local minutes of open, close, break start and end."""

    zone: ZoneInfo
    first: date
    last: date
    sessions: dict[date, str]

    def hours(self, first: date, last: date) -> dict[date, tuple[int | None, ...]]:
        """Return the sessions dated ``first`` to ``last`` with their instants, UTC milliseconds."""
        return {
            day: tuple(_instant(self.zone, day, text) for text in self.sessions[day].split())
            for day in _days(first, last)
            if day in self.sessions
        }


def codes() -> list[str]:
    """Return every exchange's calendar that a symbol can lead to."""
    venues = packaged_rules().classification.exchanges.values()
    return sorted({venue.calendar for venue in venues} | {"CMES"})


def published(code: str) -> Published:
    """Return the published sessions of one calendar."""
    packed = _read()[code]
    first, last = (date.fromisoformat(packed[name]) for name in ("first", "last"))
    exceptions = {first + timedelta(days=n) for n in accumulate(packed["odd"])}
    changes = {date.fromisoformat(day): text for day, text in packed["hours"]}
    sessions, now = dict[date, str](), ""
    for day in _days(first, last):
        if (day.weekday() < 5) == (day not in exceptions):
            now = changes.get(day, now)
            sessions[day] = now
    return Published(ZoneInfo(packed["zone"]), first, last, sessions)


@cache
def _read() -> dict[str, Any]:
    calendars: dict[str, Any] = json.loads(gzip.decompress(PACKED.read_bytes()))["calendars"]
    return calendars


def _days(first: date, last: date) -> Iterator[date]:
    return (first + timedelta(days=n) for n in range((last - first).days + 1))


def _instant(zone: ZoneInfo, day: date, text: str) -> int | None:
    """Return the instant of a local time, given in minutes from midnight."""
    if text == "-":
        return None
    minutes = int(text)
    moment = datetime.combine(day, datetime.min.time()) + timedelta(minutes=minutes)
    return round(moment.replace(tzinfo=zone).timestamp()) * 1000


# --- packing ----------------------------------------------------------------------------------


def main() -> None:
    name, wanted = "exchange_calendars", version("exchange_calendars")
    packed = {}
    with tempfile.TemporaryDirectory() as folder:
        pip = [sys.executable, "-m", "pip", "download", "--no-binary", name, "--no-deps"]
        subprocess.run([*pip, "--dest", folder, f"{name}=={wanted}"], check=True)
        (archive,) = Path(folder).glob("*.tar.gz")
        with tarfile.open(archive) as tar:
            root = archive.name.removesuffix(".tar.gz")
            for code in codes():
                file = tar.extractfile(f"{root}/tests/resources/{code.lower()}.csv")
                assert file is not None
                packed[code] = _packed(str(library_class(code).tz), file.read().decode())
    text = json.dumps({name: wanted, "calendars": packed}, separators=(",", ":"))
    PACKED.write_bytes(gzip.compress(text.encode(), 9, mtime=0))
    print(f"{PACKED.name}: {len(packed)} calendars, {PACKED.stat().st_size:,} bytes")


def _packed(zone: str, text: str) -> dict[str, Any]:
    """Pack one answer file: a session a line, its date, open, close, break start and break end."""
    local, sessions = ZoneInfo(zone), dict[date, str]()
    for label, *instants in list(csv.reader(io.StringIO(text)))[1:]:
        day = date.fromisoformat(label[:10])
        if _FIRST <= day <= _LAST:
            sessions[day] = " ".join(_minutes(local, day, instant) for instant in instants)
    first, last = min(sessions), max(sessions)
    odd = [n for n, d in enumerate(_days(first, last)) if (d.weekday() < 5) != (d in sessions)]
    changes = pairwise([(first, ""), *sessions.items()])
    return {
        "zone": zone,
        "first": first.isoformat(),
        "last": last.isoformat(),
        "odd": [b - a for a, b in pairwise([0, *odd])],
        "hours": [[day.isoformat(), now] for (_, then), (day, now) in changes if now != then],
    }


def _minutes(zone: ZoneInfo, day: date, instant: str) -> str:
    if not instant:
        return "-"
    wall = datetime.fromisoformat(instant).astimezone(zone).replace(tzinfo=None)
    return str(round((wall - datetime.combine(day, datetime.min.time())).total_seconds() / 60))


if __name__ == "__main__":
    main()
