"""One strategy file on history, on a replay and live: the same trades on the same bars."""

from __future__ import annotations

import importlib
import threading
from pathlib import Path
from types import ModuleType

import pytest

from src.data.core.model.time.instant import MINUTE_MS, from_ms
from src.data.feed.live_feeds import FeedTimings
from src.data.feed.services import feeds_of
from tests.feed.conftest import BITCOIN, PATIENCE, PULSE, Stage, wait_until

EXAMPLES = Path(__file__).resolve().parents[2] / "examples"
ONE_SCREEN = 50
PAST, LIVE = 30, 40
pytestmark = pytest.mark.filterwarnings("ignore::DeprecationWarning")  # Backtrader's own utcnow


@pytest.fixture
def example(monkeypatch: pytest.MonkeyPatch) -> type:
    """Return what loads an example as a script's neighbours do."""
    monkeypatch.syspath_prepend(str(EXAMPLES))

    class Example:
        @staticmethod
        def load(name: str) -> ModuleType:
            return importlib.import_module(name)

    return Example


def test_the_example_trades_equally_on_history_replay_and_live_bars(
    stage: Stage, example: type, monkeypatch: pytest.MonkeyPatch
) -> None:
    lengths: list[int] = []
    strategy = example.load("crossover").Crossover  # type: ignore[attr-defined]
    acts = strategy.next
    monkeypatch.setattr(strategy, "next", lambda self: (lengths.append(len(self)), acts(self)))
    feeds_of(stage.manager).tempo = FeedTimings(PULSE, PATIENCE)
    first = stage.closed_ms - (PAST - 1) * MINUTE_MS
    lived: list[object] = []
    runner = threading.Thread(
        target=lambda: lived.extend(
            example.load("on_live").run(stage.manager, "BTCUSDT", "1m", PAST, PAST + LIVE)  # type: ignore[attr-defined]
        ),
        daemon=True,
    )
    runner.start()
    wait_until(lambda: stage.streams.listening(BITCOIN), "a subscription")
    # The past is counted back from when it is asked for: the clock stands still until it is there.
    wait_until(lambda: lengths and lengths[-1] >= PAST, "the past")
    for _ in range(LIVE):
        stage.minute()
        threading.Event().wait(0.002)  # bars come one by one
    # What was published before it was LIVE is asked of history, whose waits are by the clock.
    for _ in range(2000):
        if not runner.is_alive():
            break
        stage.clock.advance(0.5)
        runner.join(0.01)
    assert not runner.is_alive()
    last = first + (PAST + LIVE - 1) * MINUTE_MS
    asked = (stage.manager, "BTCUSDT", "1m", str(from_ms(first)), str(from_ms(last)))
    on_history = example.load("on_history").run(*asked)  # type: ignore[attr-defined]
    assert on_history == lived
    assert example.load("on_replay").run(*asked, speed=1e6) == lived  # type: ignore[attr-defined]
    assert len({side for side, *_ in on_history}) == 2, "this stretch has no trade to compare"


@pytest.mark.parametrize("name", ["crossover", "on_history", "on_replay", "on_live"])
def test_each_example_fits_on_one_screen(name: str) -> None:
    assert len((EXAMPLES / f"{name}.py").read_text().splitlines()) <= ONE_SCREEN
