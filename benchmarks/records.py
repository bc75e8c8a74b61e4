"""The cost of a look-up in the records, on both databases."""

from __future__ import annotations

import statistics
from collections.abc import Callable
from contextlib import ExitStack
from pathlib import Path
from tempfile import TemporaryDirectory
from time import perf_counter

import pytest

from onetape.data.db.core.database import Database
from onetape.data.db.services.telegram_service import TelegramService
from tests.db.server import server

from .harness import Figure, Report, Row

_USERS, _ROUNDS, _CALLS = 200, 20, 100
_GOALS = {"SQLite": "p50 <= 500", "PostgreSQL": "p50 <= 1,000"}
_NOTE = (
    f"Microseconds, the median of {_CALLS} calls in each of {_ROUNDS} rounds, with {_USERS} users. *unit*: "
    "of these a unit of work that reads nothing. PostgreSQL is one of this machine, over a socket."
)


def measure() -> Report:
    """Look up one user repeatedly; a database that is not installed is left out."""
    with ExitStack() as stack:
        folder = stack.enter_context(TemporaryDirectory())
        urls = {"SQLite": f"sqlite:///{Path(folder) / 'records.db'}"}
        try:
            urls["PostgreSQL"] = stack.enter_context(server())
        except pytest.skip.Exception as reason:
            print(reason)
        rows = [_row(name, url) for name, url in urls.items()]
    return Report("Records", _NOTE, rows)


def _row(name: str, url: str) -> Row:
    database = Database(url)
    users = TelegramService.of(database)
    for number in range(_USERS):
        users.set_user_limit(number, "max_alerts", number)

    def unit() -> None:
        with database.reading():
            pass

    calls = {"us": lambda: users.get_user_status(77), "unit": unit}
    figures = {
        column: Figure.of([_median(call) for _ in range(_ROUNDS)]) for column, call in calls.items()
    }
    database.close()
    return Row(f"`get_user_status`, {name}", figures, _GOALS[name])


def _median(call: Callable[[], object]) -> float:
    """Return the median time of the calls, in microseconds."""
    taken = []
    for _ in range(_CALLS):
        started = perf_counter()
        call()
        taken.append((perf_counter() - started) * 1e6)
    return statistics.median(taken)


if __name__ == "__main__":
    print(measure())
