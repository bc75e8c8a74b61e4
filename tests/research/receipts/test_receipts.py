"""Receipts of runs: made, read, and verified on another machine."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace
from datetime import date, timedelta
from itertools import product
from pathlib import Path
from string import ascii_uppercase
from typing import Any

import numpy as np
import pytest

from src.data.bundles import lineage
from src.data.core.model.market.bars import BarTable
from src.data.core.model.time.instant import day_ms, parse_iso
from src.data.errors import AuthenticationError, NoDataError, UnavailableError
from src.data.research.receipts.digests import Grid, digests_of
from src.data.research.receipts.receipt import Line, Receipt, read_receipt
from src.data.research.receipts.verify import Finding, Findings, verify
from tests.core.cache.counts import FULL
from tests.e2e.fixed_vendor import Market

from .many_shares import Shares, change, dividend, split

ASKED = "1d", "2022-06-01", "2024-05-31"
CHECKED = parse_iso("2024-06-27T22:30:00")


def made(market: Market, shares: Shares, adjustment: str = "all", *symbols: str) -> Path:
    """Return the receipt of a run that read shares, on a machine of its own."""
    manager = market.manager(shares, folder="maker")
    folder = market.folder / "bundles"
    with lineage("momentum", folder=folder, manager=manager) as run:
        for symbol in symbols or shares.bars:
            manager.get_ohlcv(symbol, *ASKED, adjustment=adjustment)
    path = market.folder / "x.receipt"
    run.receipt(path)
    return path


def checked(market: Market, path: Path, shares: Shares, **options: Any) -> Findings:
    """Return what another machine finds, with an empty folder and its own vendor."""
    market.clock.set(CHECKED)
    manager = market.manager(shares, folder="reader")
    return verify(path, manager=manager, **options)


def test_series_are_the_same_despite_noise_and_a_later_split_and_dividend(market: Market) -> None:
    """A full run has 300 of them."""
    count = 300 if FULL else 12
    names = [f"QZ{a}{b}" for a, b in product(ascii_uppercase, repeat=2)][:count]
    path = made(market, Shares(market.clock, names, 1))
    later = Shares(market.clock, names, 2)
    for name in names:
        plus = split(date(2024, 6, 11), 3.0), dividend(date(2024, 6, 18), 0.31)
        change(later, name, plus=plus)
    found = checked(market, path, later)
    states = {
        one.line.kind: [f.state for f in found.findings if f.line.kind == one.line.kind]
        for one in found.findings
    }
    assert found.code == 0
    assert states == {
        "bars": ["same"] * count, "actions": ["same"] * count, "calendar": ["same"], "all": ["same"],
    }  # fmt: skip


@dataclass
class Case:
    """A change at the vendor between the run and the check.

    Attributes:
        change: Makes it.
        bars, actions: States of the two lines.
        months: Months that are named.
        detail: Part of the text about the actions or, without one, about the bars.
        code: Exit code.
    """

    change: Callable[[Shares], object]
    bars: str = "same"
    actions: str = "same"
    months: tuple[str, ...] = ()
    detail: str = ""
    code: int = 1


def _row(shares: Shares, day: str) -> Any:
    rows = shares.bars["AAPL"]
    return rows[rows[:, 0] == day_ms(date.fromisoformat(day))][0:1], rows[:, 0] == day_ms(
        date.fromisoformat(day)
    )


def _revise(shares: Shares, day: str, column: int, change: float) -> None:
    shares.bars["AAPL"][_row(shares, day)[1], column] += change


def _keep(shares: Shares, keep: Callable[[Any], Any]) -> None:
    months = shares.bars["AAPL"][:, 0].astype("M8[ms]").astype("M8[M]").astype(str)
    shares.bars["AAPL"] = shares.bars["AAPL"][keep(months)]


def _scale(shares: Shares) -> None:
    is_2023 = shares.bars["AAPL"][:, 0].astype("M8[ms]").astype("M8[Y]").astype(str) == "2023"
    shares.bars["AAPL"][is_2023, 1:5] *= 0.97


def _event(shares: Shares, kind: str, place: int = 0) -> Any:
    return [action for action in shares.events["AAPL"] if action.type == kind][place]


def _move(shares: Shares) -> None:
    old = _event(shares, "dividend", 3)
    new = dividend(old.ex_date - timedelta(1), old.amount)
    change(shares, "AAPL", without=[old], plus=[new])


def _raise(shares: Shares) -> None:
    old = _event(shares, "dividend", 3)
    change(shares, "AAPL", without=[old], plus=[replace(old, amount=old.amount + 0.02)])


def _fail(error: Any) -> Callable[[Shares], None]:
    def change_it(shares: Shares) -> None:
        """Let every request fail."""
        shares.error = error("it says no", provider="yahoo")

    return change_it


_2023 = tuple(f"2023-{month:02d}" for month in range(1, 13))
CASES = {
    "nothing": Case(lambda _: None, code=0),
    "one close": Case(lambda s: _revise(s, "2023-03-15", 4, 0.01), "revised", months=("2023-03",)),
    "one volume": Case(lambda s: _revise(s, "2024-05-30", 5, 1), "revised", months=("2024-05",)),
    "a month gone": Case(
        lambda s: _keep(s, lambda m: m != "2023-08"), "revised", months=("2023-08",), detail="-23 rows"
    ),
    "a bar gone": Case(
        lambda s: _keep(s, lambda m: np.arange(len(m)) != 300), "revised", months=("2023-03",),
        detail="-1 rows",
    ),
    "a year of another basis": Case(_scale, "revised", months=_2023),
    "a dividend moved": Case(_move, actions="rebased", detail="moved since then from 2022-11-30: "),
    "a dividend raised": Case(_raise, actions="rebased", detail="another amount since then: dividend of"),
    "a dividend added": Case(
        lambda s: change(s, "AAPL", plus=[dividend(date(2023, 2, 14), 0.5)]), actions="rebased",
        detail="added: dividend of 0.5 on 2023-02-14",
    ),
    "a split taken back": Case(
        lambda s: change(s, "AAPL", without=[_event(s, "split")]), actions="rebased",
        detail="taken back since then: split of",
    ),
    "no key": Case(_fail(AuthenticationError), "closed", "closed", code=3),
    "an outage": Case(_fail(UnavailableError), "unread", "unread", code=3),
    "no longer served": Case(_fail(NoDataError), "missing", "missing", code=3),
}  # fmt: skip


@pytest.mark.parametrize("name", CASES)
def test_each_change_at_the_vendor_has_its_state_and_month(market: Market, name: str) -> None:
    case = CASES[name]
    path = made(market, Shares(market.clock, ["AAPL"], 1))
    now = Shares(market.clock, ["AAPL"], 2)
    case.change(now)
    found = checked(market, path, now)
    by_kind: dict[str, Finding] = {one.line.kind: one for one in found.findings}
    bars, actions = by_kind["bars"], by_kind["actions"]
    assert (bars.state, actions.state, bars.months) == (case.bars, case.actions, case.months), found
    assert case.detail in f"{bars.detail} {actions.detail}"
    assert found.code == case.code


def test_lines_that_are_made_up_are_never_the_same(market: Market) -> None:
    """Their digest is that of the bars or actions, but another field is not theirs."""
    path = made(market, Shares(market.clock, ["AAPL"], 1))
    receipt = read_receipt(path)
    (line,) = receipt.of_kind("bars")
    manager = market.manager(Shares(market.clock, ["AAPL"], 2), folder="reader")
    frame = manager.get_ohlcv("AAPL", *ASKED, adjustment="raw")
    stamps = frame.index.astype("datetime64[ms]").astype("int64").to_numpy()
    columns = [frame[c].to_numpy() for c in ("open", "high", "low", "close", "volume")]
    coarse = Grid(-4, False, False)
    digest = " ".join(digests_of(BarTable.of_columns(stamps, columns), coarse, None))
    grid, right = line.values["grid"], line.values["digests"]

    def state(old: str, new: str, kind: str = "bars") -> tuple[str, str]:
        """Return state and detail of a line, for a receipt with a changed one."""
        rows = [Line.of(x.text.replace(old, new)) for x in receipt.lines[1:-1]]
        Receipt.of(rows).write(path)
        found = verify(path, manager=manager).findings
        return next((one.state, one.detail) for one in found if one.line.kind == kind)

    assert state("rows 503", "rows 503") == ("same", "")
    assert state("rows 503", "rows 504") == ("revised", "-1 rows")
    hidden = f"the grid raw/-4 hides differences; it must be {grid}"
    assert state(f"{grid} {right}", f"{coarse} {digest}") == ("unread", hidden)
    assert state("1d regular", "1d spot") == ("unread", "its bars are 'regular', not 'spot'")
    # 28 May 2022 was a Saturday: the same bars are in both ranges.
    assert state("2022-06-01..", "2022-06-01..") == ("same", "")
    assert state("..2024-05-31", "..2024-06-01") == ("unread", "its ranges are not from bar to bar")
    first, second = right.split()
    forged = "changed", "its digests are not those of one series"
    assert state(f"{first} {second}", f"{first} {first}") == forged
    counted = state("dividends 9", "dividends 7", "actions")
    assert counted == ("changed", "it counts others than its digest has")


def test_a_grid_without_the_fractions_of_volumes_is_no_proof(market: Market) -> None:
    shares = Shares(market.clock, ["AAPL"], 1)
    shares.has_fractions = True
    shares.bars["AAPL"][:, 5] += 0.25
    path = made(market, shares)
    receipt = read_receipt(path)
    (line,) = receipt.of_kind("bars")
    assert line.values["grid"] == "raw/3 exact-volume"
    manager = market.manager(shares, folder="reader")
    frame = manager.get_ohlcv("AAPL", *ASKED, adjustment="raw")
    stamps = frame.index.astype("datetime64[ms]").astype("int64").to_numpy()
    columns = [frame[c].to_numpy() for c in ("open", "high", "low", "close", "volume")]
    rounded = " ".join(
        digests_of(BarTable.of_columns(stamps, columns), Grid(3, False, False), None)
    )
    new = line.text.replace(f"exact-volume {line.values['digests']}", rounded)
    rows = [Line.of(new) if x == line else x for x in receipt.lines[1:-1]]
    Receipt.of(rows).write(path)
    (found,) = (f for f in checked(market, path, shares).findings if f.line.kind == "bars")
    assert found.state == "unread" and "hides fractions of volumes" in found.detail


@pytest.mark.parametrize("ratio", [1 / 20, 1.5, 3.0])
@pytest.mark.parametrize("revised", [False, True])
def test_a_split_that_rounds_volumes_is_no_revision(
    market: Market, ratio: float, revised: bool
) -> None:
    """Vendors send whole volumes in today's shares; a revised volume is noticed if no split loses them."""
    path = made(market, Shares(market.clock, ["AAPL"], 1))
    later = Shares(market.clock, ["AAPL"], 2)
    change(later, "AAPL", plus=[split(date(2024, 6, 11), ratio)])
    if revised:
        _revise(later, "2024-05-30", 5, 100)
    found = checked(market, path, later)
    (bars,) = (one for one in found.findings if one.line.kind == "bars")
    lost = "volumes differ: vendors round them for a split of 1/20 on 2024-06-11"
    if ratio < 1:
        assert (bars.state, bars.detail, found.code) == ("same values", lost, 0)
    elif revised:
        assert (bars.state, bars.detail) == ("revised", "prices are equal, volumes differ")
    else:
        assert (bars.state, bars.detail) == ("same", "")


@pytest.mark.parametrize("ratio", [1.5, 1 / 20])
def test_volumes_before_a_split_of_the_past_are_compared(market: Market, ratio: float) -> None:
    """They have fractions, or are multiples; as long as the vendor sends the same, they are equal."""

    def shares(seed: int) -> Shares:
        """Return a vendor with a split in the bars, whose volumes are whole in today's shares."""
        made = Shares(market.clock, ["AAPL"], seed)
        change(made, "AAPL", without=[_event(made, "split")], plus=[split(date(2023, 4, 3), ratio)])
        return made

    path = made(market, shares(1))
    (bars,) = (one for one in checked(market, path, shares(2)).findings if one.line.kind == "bars")
    assert (bars.state, bars.detail) == ("same", "")


@pytest.mark.parametrize("seed", [2, 3])
def test_noise_at_the_edge_of_a_cell_is_never_a_revision(market: Market, seed: int) -> None:
    def vendor(seed: int) -> Shares:
        """Return a vendor with six closes at the edge of a cell."""
        shares = Shares(market.clock, ["AAPL"], seed)
        shares.bars["AAPL"][[320, 330, 340, 350, 400, 450], 4] += 0.0005
        return shares

    path = made(market, vendor(1))
    (line,) = read_receipt(path).of_kind("bars")
    assert line.values["grid"] == "exact raw/3"
    (bars,) = (one for one in checked(market, path, vendor(seed)).findings if one.line == line)
    assert bars.state == "same values"
    wrong = vendor(seed)
    wrong.bars["AAPL"][320, 4] += 0.002
    (market.folder / "reader").rename(market.folder / "before")
    (bars,) = (one for one in checked(market, path, wrong).findings if one.line == line)
    assert bars.state == "revised"


def test_a_run_that_adjusted_only_its_last_bars_has_all_splits_and_dividends(
    market: Market,
) -> None:
    manager = market.manager(Shares(market.clock, ["AAPL"], 1), folder="maker")
    with lineage("parts", folder=market.folder / "bundles", manager=manager) as run:
        manager.get_ohlcv("AAPL", "1d", bars=3, adjustment="all")
        manager.get_ohlcv("AAPL", "1d", "2022-06-01", "2022-08-01", adjustment="raw")
    receipt = run.receipt(market.folder / "x")
    (line,) = receipt.of_kind("actions")
    assert (line.values["splits"], line.values["dividends"]) == ("1", "9")
    found = checked(market, market.folder / "x", Shares(market.clock, ["AAPL"], 2))
    assert {one.state for one in found.findings} == {"same"}
