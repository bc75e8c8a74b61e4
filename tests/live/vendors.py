"""What `make test-live` asks real vendors, and where their answers are kept."""

from __future__ import annotations

import os
from collections.abc import Iterator, Sequence
from dataclasses import replace
from datetime import UTC, datetime
from pathlib import Path

import pytest

from src.data.core.clock import Clock, SystemClock
from src.data.core.config.settings import load_settings, user_folder
from src.data.core.vendors.factory import downloader_class
from src.data.jobs.vendors.known import Answer, known_of, market_vendors, vendor_answers
from src.data.jobs.vendors.vendors import selector_of

TABLE = pytest.StashKey[list[str]]()
RECORDINGS = "ONETAPE_LIVE_RECORDINGS"
# Not asked, not reached, or refused by its plan: of our reading of its answers that says nothing.
UNANSWERED = ("no key", "not usable", "unreachable", "late", "refused by plan", "too many requests",
              "not served")  # fmt: skip


def recordings_folder(now: datetime | None = None) -> Path:
    """Return the folder for the answers of today's run, which by default is outside of the tree."""
    named = os.environ.get(RECORDINGS)
    folder = Path(named) if named else user_folder("cache", None) / "onetape-live"
    return folder.absolute() / f"{(now or datetime.now(UTC)).date()}"


def answers_of(
    vendors: Sequence[str], cache: Path, rules: Path | None = None, clock: Clock | None = None
) -> list[Answer]:
    """Return the vendors' answers; those of vendors without keys are recorded."""
    keyed = [name for name in vendors if downloader_class(name).requires_api_key]
    free = [name for name in vendors if name not in keyed]
    clock, settings = clock or SystemClock(), load_settings(cache, rules)
    recorded = replace(settings, record_dir=recordings_folder())
    found = vendor_answers(selector_of(recorded, clock), free, clock)
    return [*found, *vendor_answers(selector_of(settings, clock), keyed, clock)]


def announcement() -> Iterator[str]:
    """Yield what is asked of whom; nothing is asked for that."""
    yield "real vendors that have a key, or need none, are asked for daily bars, one request each:"
    for name in market_vendors():
        yield f"  {name:<14} {', '.join(known.symbol for known in known_of(name))}"
    yield f"answers of vendors without keys are kept in {recordings_folder()} ({RECORDINGS})"
