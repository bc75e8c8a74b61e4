"""An own file answers a range in the same way whatever was requested of it before."""

from __future__ import annotations

import random
from collections.abc import Callable
from itertools import pairwise
from pathlib import Path
from typing import Any

import pandas as pd
import pytest

from src.data.core.clock import ManualClock
from src.data.data_manager import DataManager
from tests.vendor_server import Fault, VendorServer

from .oracle import ms

NOW = ms("2024-06-12T12:00:00")
STEPS = {"1d": pd.Timedelta(days=1), "1h": pd.Timedelta(hours=1)}
BARS = 40
# Which of 40 bars are in the file, by position.
KEPT: dict[str, Callable[[int], bool]] = {
    "few": lambda at: at % 8 == 3,
    "two of three": lambda at: at % 3 != 1,
    "only the first": lambda at: at < 9,
    "one alone": lambda at: at < 10 or at == 24,
    "none at the start": lambda at: at > 30,
}

Make = Callable[..., DataManager]


@pytest.fixture
def now() -> ManualClock:
    """Return the clock of the managers."""
    return ManualClock(NOW)


@pytest.fixture
def made(tmp_path: Path, vendors: VendorServer, now: ManualClock) -> Make:
    """Return a maker of managers whose file has the given bars, with Binance behind it if ``ruled``."""
    folder, ruled = tmp_path / "own", tmp_path / "rules.yaml"
    folder.mkdir()
    ruled.write_text(
        "crypto: {primary: local, backup: [binance]}\n"
        f"providers:\n  local: {{folder: '{folder}', unit: USDT, anchor: clock}}\n"
        f"  binance: {{base_url: '{vendors.base_url('binance')}', transport: http}}\n"
    )

    def make(
        step: str, kept: Callable[[int], bool], bad: tuple[int, ...] = (), first: int = 0
    ) -> DataManager:
        one = DataManager(tmp_path / "cache", ruled, clock=now)
        bars = one.get_ohlcv("BTCUSDT", step, *ends(step, first), provider="binance")
        assert len(bars) == BARS - first
        rows = bars[[kept(at) for at in range(first, BARS)]].copy()
        rows["volume"] *= 1.001  # so that the file's bars are not those of the vendor
        rows.loc[[bars.index[at] for at in bad], "high"] = 1.0
        rows.rename_axis("timestamp").to_csv(folder / f"BTCUSDT_{step}.csv")
        return one

    return make


def ends(step: str, first: int = 0, end: int = BARS) -> tuple[str, str]:
    """Return the first time of a range of bars, and its last."""
    start = pd.Timestamp("2024-05-02" if step == "1d" else "2024-05-20")
    last = start + (end - 1) * STEPS[step]
    return str(start + first * STEPS[step]), str(last)


def asked(one: DataManager, step: str, first: int, end: int, **how: Any) -> pd.DataFrame:
    return one.get_ohlcv("BTCUSDT", step, *ends(step, first, end), columns=("source",), **how)


def gaps_in(frame: pd.DataFrame) -> list[tuple[pd.Timestamp, pd.Timestamp, str]]:
    gaps = frame.attrs["onetape"]["gaps"]
    return [(pd.Timestamp(g["start"]), pd.Timestamp(g["end"]), g["reason"]) for g in gaps]


@pytest.mark.filterwarnings("ignore::src.data.errors.IncompleteDataWarning")
@pytest.mark.parametrize("pinned", [False, True], ids=["by the rules", "pinned"])
@pytest.mark.parametrize("kept", KEPT)
@pytest.mark.parametrize("step", STEPS)
def test_pieces_in_any_order_are_the_whole(step: str, kept: str, pinned: bool, made: Make) -> None:
    how = {"provider": "local"} if pinned else {}
    one = made(step, KEPT[kept])
    whole = asked(one, step, 0, BARS, **how)
    own = [at for at in range(BARS) if KEPT[kept](at)]
    if pinned:
        assert len(whole) == len(own)
    else:
        assert whole["source"].tolist() == [
            "local" if at in own else "binance" for at in range(BARS)
        ]
        assert whole.attrs["onetape"]["complete"]
    cuts = [0, 7, 13, 18, 26, 33, BARS]
    pieces = list(pairwise(cuts))
    for seed in range(4):
        random.Random(seed).shuffle(pieces)
        again = made(step, KEPT[kept])
        parts = {piece: asked(again, step, *piece, **how) for piece in pieces}
        joined = pd.concat([parts[piece] for piece in sorted(parts)])
        pd.testing.assert_frame_equal(joined, whole, check_freq=False)
        after = asked(again, step, 0, BARS, **how)
        pd.testing.assert_frame_equal(after, whole)
        assert gaps_in(after) == gaps_in(whole)
        assert after.attrs["onetape"]["complete"] == whole.attrs["onetape"]["complete"]
        for piece, part in parts.items():
            alone = asked(made(step, KEPT[kept]), step, *piece, **how)
            pd.testing.assert_frame_equal(part, alone)
            assert gaps_in(part) == gaps_in(alone)
            assert part.attrs["onetape"]["complete"] == alone.attrs["onetape"]["complete"]


@pytest.mark.parametrize(("step", "each"), [("1d", 2), ("1h", 3)])
@pytest.mark.parametrize("piece", [None, (-110, -80), (-5, 40)])
def test_every_hole_is_filled_however_many_there_are(
    step: str, each: int, piece: tuple[int, int] | None, made: Make
) -> None:
    one = made(step, lambda at: at % each == 0, first=-119)
    if piece is not None:
        asked(one, step, *piece)
    whole = asked(one, step, -119, BARS, strict=True)
    names = ["binance" if at % each else "local" for at in range(-119, BARS)]
    assert whole["source"].tolist() == names


@pytest.mark.filterwarnings("ignore::src.data.errors.IncompleteDataWarning")
@pytest.mark.parametrize("kept", ["few", "two of three", "one alone"])
@pytest.mark.parametrize(("step", "longer"), [("1h", "4h"), ("1d", "3d")])
def test_longer_bars_are_equally_complete_whatever_was_requested_before(
    step: str, longer: str, kept: str, made: Make
) -> None:
    how = {"provider": "local"}
    whole = made(step, KEPT[kept]).get_ohlcv("BTCUSDT", longer, *ends(step), **how)
    for pieces in ([(0, 7), (18, 26)], [(20, 22)], [(0, BARS)]):
        one = made(step, KEPT[kept])
        for piece in pieces:
            asked(one, step, *piece, **how)
        frame = one.get_ohlcv("BTCUSDT", longer, *ends(step), **how)
        pd.testing.assert_frame_equal(frame, whole)
        assert gaps_in(frame) == gaps_in(whole)
        assert frame.attrs["onetape"]["complete"] == whole.attrs["onetape"]["complete"]


# --- numbers of bars


@pytest.mark.filterwarnings("ignore::src.data.errors.IncompleteDataWarning")
@pytest.mark.parametrize("before", [None, (0, BARS), (0, 7), (18, 60)])
@pytest.mark.parametrize("step", STEPS)
def test_a_number_of_bars_is_counted_back_from_the_last_row_whenever_the_file_ended(
    step: str, before: tuple[int, int] | None, made: Make
) -> None:
    """It ended 33 days ago, and the vendor behind it, in the rule, has all days since."""
    one, pinned = made(step, KEPT["only the first"]), {"provider": "local"}
    if before is not None:
        asked(one, step, *before, **pinned)
    for _ in range(3):
        frame = one.get_ohlcv("BTCUSDT", step, bars=3, **pinned)
        assert frame.index.tolist() == [pd.Timestamp(ends(step, n)[0]) for n in (6, 7, 8)]
        assert not frame.attrs["onetape"]["complete"]
        assert gaps_in(frame)[-1][2].startswith("the data ends on ")
        ruled = one.get_ohlcv("BTCUSDT", step, bars=3, columns=("source",))
        assert (ruled["source"].tolist(), ruled.attrs["onetape"]["complete"]) == (
            ["binance"] * 3,
            True,
        )
        assert NOW - ruled.index[-1].timestamp() * 1000 < 3 * STEPS[step].total_seconds() * 1000


@pytest.mark.filterwarnings("ignore::src.data.errors.IncompleteDataWarning")
@pytest.mark.parametrize("offline", [False, True])
@pytest.mark.parametrize("step", STEPS)
def test_a_number_of_bars_is_that_of_a_files_rows_however_far_apart_they_are(
    step: str, offline: bool, made: Make
) -> None:
    one, rows = made(step, lambda at: at in (0, 1, 37, 39)), (0, 1, 37, 39)
    how: dict[str, Any] = {"provider": "local", "offline": offline}
    for bars in (1, 3, 4, 3, 9):
        for _ in range(2):
            frame = one.get_ohlcv("BTCUSDT", step, bars=bars, **how)
            assert frame.index.tolist() == [pd.Timestamp(ends(step, at)[0]) for at in rows[-bars:]]
    frame = one.get_ohlcv("BTCUSDT", step, bars=2, end_date=ends(step, 0, 20)[1], **how)
    assert frame.index.tolist() == [pd.Timestamp(ends(step, at)[0]) for at in (0, 1)]


# --- rows that cannot be bars, and a vendor that is down


@pytest.mark.filterwarnings("ignore::src.data.errors.IncompleteDataWarning")
@pytest.mark.parametrize("step", STEPS)
def test_a_rejected_row_is_replaced_by_another_vendors_as_soon_as_that_is_up(
    step: str, made: Make, vendors: VendorServer, now: ManualClock
) -> None:
    one = made(step, lambda at: True, bad=(5, 20))
    vendors.fault("binance", Fault.status(503))
    counts = []
    for _ in range(12):
        vendors.clear_log()
        down = asked(one, step, 0, BARS)
        assert len(down) == BARS - 2
        assert [gap[2] for gap in gaps_in(down)] == [
            "a row that cannot be a bar: high below low"
        ] * 2
        counts.append(vendors.count("binance"))
    assert counts[0] > 0
    assert counts[-1] == 0, "as after any outage"
    vendors.heal()
    now.advance(300)
    for _ in range(2):
        up = asked(one, step, 0, BARS)
        assert [at for at, name in enumerate(up["source"]) if name == "binance"] == [5, 20]
        assert up.attrs["onetape"]["complete"]


def bad_row(stamp_ms: int) -> Fault:
    """Return the fault that the row with this stamp has a high below its low."""

    def change(page: Any) -> Any:
        places = [at for at, row in enumerate(page.rows) if row.stamp_ms == stamp_ms]
        return Fault.bad_ohlc(*places).rows(page) if places else page  # type: ignore[misc]

    return Fault.on_rows("bad row", change)


@pytest.mark.filterwarnings("ignore::src.data.errors.IncompleteDataWarning")
@pytest.mark.parametrize("bad", [False, True], ids=["a hole", "a rejected row"])
@pytest.mark.parametrize(
    "sent", [Fault.drop_stamps, bad_row], ids=["nothing", "a row that cannot be a bar"]
)
def test_another_vendor_without_the_bar_is_asked_for_it_once_a_day(
    bad: bool, sent: Callable[..., Fault], made: Make, vendors: VendorServer, now: ManualClock
) -> None:
    one = made("1d", lambda at: at != 5 or bad, bad=(5,) if bad else ())
    stamp = ms(str(ends("1d", 5)[0]).replace(" ", "T"))
    vendors.fault("binance", sent(stamp))
    counts = []
    for hours in (0, 0, 12, 13, 1):
        now.advance(hours * 3600)
        vendors.clear_log()
        frame = asked(one, "1d", 0, BARS)
        assert (len(frame), set(frame["source"])) == (BARS - 1, {"local"})
        counts.append(vendors.count("binance"))
    assert [bool(count) for count in counts] == [True, False, False, True, False]
