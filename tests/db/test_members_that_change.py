"""Members that a source tells otherwise later: the universe is that of an empty database."""

from __future__ import annotations

import warnings
from pathlib import Path
from types import SimpleNamespace

import pytest

from src.data.core.clock import ManualClock
from src.data.core.model.time.instant import parse_iso
from src.data.core.provider_selector import ProviderSelector
from src.data.db import Database
from src.data.db.universe import StoredUniverses
from tests.simulation.facts import OPERATIONS

HEAD = "symbol,from,to\n"
ALWAYS, LEFT = "AAPL,2010-01-04,\n", "GONE,2010-01-04,2023-03-13\n"
JOINED = "MSFT,2023-03-08,\n"
# The dated lines of a file, first and then.
TOLD = {
    "told": (ALWAYS + LEFT, ALWAYS + LEFT + JOINED),
    "withdrawn": (ALWAYS + LEFT + JOINED, ALWAYS + LEFT),
    "moved": (ALWAYS + LEFT + JOINED, ALWAYS + LEFT + "MSFT,2023-03-20,\n"),
    "told by another": (ALWAYS + LEFT, ALWAYS + "MSFT,2023-03-09,\n" + LEFT),
    "told late": (ALWAYS + "GONE,2010-01-04,\n", ALWAYS + LEFT),
    "cut at the front": (
        ALWAYS + LEFT + JOINED, "AAPL,2023-01-03,\nGONE,2023-01-03,2023-03-13\n" + JOINED
    ),
}  # fmt: skip
DAYS = ("2010-01-04", "2022-06-01", "2023-03-08", "2023-03-13", "2023-03-20", "2026-01-06")


@pytest.mark.parametrize("operation", OPERATIONS)
def test_a_member(tmp_path: Path, operation: str) -> None:
    clock = ManualClock(parse_iso("2026-01-05T12:00"))
    spelling = SimpleNamespace(provider_selector=ProviderSelector())

    def universes(name: str) -> StoredUniverses:
        return StoredUniverses(Database(f"sqlite:///{tmp_path / name}.db"), spelling, clock)  # type: ignore[arg-type]

    file = tmp_path / "members.csv"
    first, then = TOLD[operation]
    file.write_text(HEAD + first)
    kept = universes("kept")
    kept.import_file("mine", file)
    clock.sleep(2 * 86_400)
    other = tmp_path / "other.csv" if operation == "told by another" else file
    other.write_text(HEAD + then)
    if other is file:
        kept.refresh("mine")
    else:
        kept.import_file("mine", other)
    fresh = universes("fresh")
    fresh.import_file("mine", other)
    for one in (kept, universes("kept")):  # and after a restart
        for day in DAYS:
            with warnings.catch_warnings():
                warnings.simplefilter("ignore")
                assert one.members("mine", day) == fresh.members("mine", day), day
    joined = {"moved": "2023-03-20", "told by another": "2023-03-09"}.get(operation)
    if joined is not None:  # as written above
        assert "MSFT" not in list(kept.members("mine", "2023-03-08"))
        assert "MSFT" in list(kept.members("mine", joined))
