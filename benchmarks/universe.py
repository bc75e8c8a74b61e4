"""The cost of querying the members on a day, and of importing twenty years of an index."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from tempfile import TemporaryDirectory
from time import perf_counter

from onetape.data.data_manager import DataManager
from onetape.data.db import Database
from onetape.data.db.universe import StoredUniverses
from tests.db.made_index import made_index

from .harness import Figure, Report, Row

_QUESTIONS = 300
_IMPORTS = 5
_NOTE = (
    "A synthetic index of 500 members is stored in a SQLite file, with 20 years of changes, 25 "
    "a year. The table shows the time in milliseconds of\n\n"
    "- `members(name, as_of)` on a day of a change, each call in its own unit of work;\n"
    "- an import of the index's change log, walked back from today's list;\n"
    "- an import of the same members as intervals."
)


def measure() -> Report:
    """Time queries and imports."""
    index = made_index()
    with TemporaryDirectory() as folder:
        place = Path(folder)
        files = {"log": index.log(), "today": index.list_(), "intervals": index.intervals()}
        for name, data in files.items():
            (place / name).write_bytes(data)
        manager = DataManager(place / "cache")
        walked, read = [], []
        for turn in range(_IMPORTS):
            universes = StoredUniverses(Database(f"sqlite:///{place / f'{turn}.db'}"), manager)
            universes.universes()  # makes the tables
            importing = universes.import_file
            walked.append(_timed(importing, "walked", place / "log", place / "today"))
            read.append(_timed(importing, "read", place / "intervals"))
        days = [day for day, _, _ in index.changes][:_QUESTIONS]
        asked = [_timed(universes.members, "walked", day) for day in days]
    rows = [
        Row("members of a day", {"ms": Figure.of(asked)}, "2 ms"),
        Row("import of a change log", {"ms": Figure.of(walked)}, "2,000 ms"),
        Row("import of intervals", {"ms": Figure.of(read)}, "2,000 ms"),
    ]
    return Report("Universes", _NOTE, rows)


def _timed(call: Callable[..., object], *arguments: object) -> float:
    begin = perf_counter()
    call(*arguments)
    return (perf_counter() - begin) * 1000
