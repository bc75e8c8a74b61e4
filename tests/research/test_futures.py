"""Continuous futures: published formulas, what is known by a time, and what is refused."""

from __future__ import annotations

import math
import random
from fractions import Fraction
from pathlib import Path
from typing import Any

import pandas as pd
import pytest

from onetape import QueryError, describe, fingerprint
from onetape.errors import BadRangeError, StorageError
from onetape.futures import rolls_by_days, rolls_by_volume, stitch
from src.data.core.model.answer.provenance import ATTRS_KEY, freeze
from src.data.data_manager import DataManager

Frames = dict[str, pd.DataFrame]
MODES = ("backward_difference", "backward_ratio", "forward_difference", "forward_ratio")
DAYS = pd.date_range("2024-03-04", periods=12, freq="B", name="timestamp")


def contract(*closes: float, first: int = 0, **columns: Any) -> pd.DataFrame:
    """Return daily bars with these closes, from a day of ``DAYS`` on."""
    index = DAYS[first : first + len(closes)]
    frame = pd.DataFrame({"open": closes, "high": closes, "low": closes, "close": closes}, index)
    return frame.assign(volume=[100.0 * (n + 1) for n in range(len(closes))]).assign(**columns)


def four_contracts() -> tuple[Frames, list[tuple[str, str, str]]]:
    """Return four contracts that overlap by four days each, and the rolls between them."""
    frames = {
        "H24": contract(6001.0, 6003.5, 6001.0, 6001.0, 6005.0, 6006.0),
        "M24": contract(5990.0, 5995.5, 5994.0, 5999.25, 6000.0, first=3),
        "U24": contract(6010.0, 6012.75, 6011.0, 6013.0, first=6),
        "Z24": contract(6004.0, 6007.5, 6009.0, 6010.0, first=8),
    }
    return frames, [
        (str(DAYS[5].date()), "H24", "M24"),
        (str(DAYS[7].date()), "M24", "U24"),
        (str(DAYS[9].date()), "U24", "Z24"),
    ]


def published(mode: str, pre: list[Fraction], post: list[Fraction], k: int) -> Fraction:
    """Return the adjustment of segment ``k``, as NautilusTrader defines it.

    Source: NautilusTrader's documentation, Concepts, "Continuous Futures", section "Adjustment modes".
    """
    n = len(pre)
    if mode == "backward_difference":
        return sum(((post[i] - pre[i]) for i in range(k, n)), Fraction(0))
    if mode == "forward_difference":
        return sum(((pre[i] - post[i]) for i in range(k)), Fraction(0))
    if mode == "backward_ratio":
        return math.prod((post[i] / pre[i] for i in range(k, n)), start=Fraction(1))
    return math.prod((pre[i] / post[i] for i in range(k)), start=Fraction(1))


@pytest.mark.parametrize("mode", MODES)
def test_each_mode_gives_the_numbers_of_the_published_formula(mode: Any) -> None:
    frames, rolls = four_contracts()
    # By hand: the closes of the day before each roll, which both contracts have.
    pre = [Fraction("6005"), Fraction("5999.25"), Fraction("6011")]
    post = [Fraction("5995.5"), Fraction("6010"), Fraction("6004")]
    got = stitch(frames, rolls, mode)
    column = "factor" if mode.endswith("ratio") else "offset"
    assert got["contract"].drop_duplicates().tolist() == [*frames]
    assert got.index.equals(DAYS)
    for k, name in enumerate(frames):
        part = got[got["contract"] == name]
        step = float(published(mode, pre, post, k))
        assert set(part[column]) == {step}
        traded = frames[name].loc[part.index]
        for price in ("open", "high", "low", "close"):
            moved = traded[price] * step if mode.endswith("ratio") else traded[price] + step
            assert part[price].tolist() == moved.tolist()
        assert part["volume"].tolist() == traded["volume"].tolist()


def test_the_published_example_of_one_roll() -> None:
    """6001.00 before the roll and 5995.50 after it, the prices of the example on that page."""
    frames = {"ESH26": contract(6001.0, 6001.0), "ESM26": contract(5995.5, 5996.0)}
    got = stitch(frames, [(DAYS[1], "ESH26", "ESM26")])
    assert got["offset"].tolist() == [-5.5, 0.0]
    assert got["close"].tolist() == [5995.5, 5996.0]
    assert list(got) == ["open", "high", "low", "close", "volume", "contract", "offset"]


@pytest.mark.parametrize("mode", [*MODES, "none"])
def test_prices_as_traded_are_found_again(mode: Any) -> None:
    frames, rolls = four_contracts()
    got = stitch(frames, rolls, mode)
    traded = pd.concat(
        [frame.loc[got.index[got["contract"] == name]] for name, frame in frames.items()]
    )
    raw = got["close"] / got["factor"] if "factor" in got else got["close"] - got["offset"]
    assert raw.tolist() == pytest.approx(traded["close"].tolist(), abs=1e-9)
    if mode == "none":
        assert set(got["offset"]) == {0.0}


def test_offsets_are_exact_decimals() -> None:
    frames = {"A": contract(0.3, 0.3, 0.3), "B": contract(0.1, 0.1, 0.1)}
    assert stitch(frames, [(DAYS[1], "A", "B")])["offset"].tolist() == [-0.2, 0.0, 0.0]


def test_the_offset_is_measured_before_the_roll_and_at_one_time() -> None:
    """The day of the roll is not known yet; a day that one contract lacks cannot be compared."""
    frames = {"A": contract(10.0, 10.0, 10.0, 50.0), "B": contract(12.0, 13.0, 14.0, 99.0)}
    frames["B"] = frames["B"].drop(DAYS[2])
    got = stitch(frames, [(DAYS[3], "A", "B")])
    assert got["offset"].tolist() == [3.0, 3.0, 3.0, 0.0]
    (roll,) = got.attrs[ATTRS_KEY]["rolls"]
    assert roll["measured"] == "2024-03-05T00:00:00Z"
    assert roll["closes"] == [10.0, 13.0]


def test_input_is_not_changed_and_provenance_is_kept() -> None:
    frames, rolls = four_contracts()
    before = {name: frame.copy() for name, frame in frames.items()}
    frames["H24"].attrs[ATTRS_KEY] = freeze({"complete": False, "made_up": True})
    got = stitch(frames, rolls)
    for name, frame in frames.items():
        pd.testing.assert_frame_equal(frame, before[name])
    facts = got.attrs[ATTRS_KEY]
    assert (facts["complete"], facts["made_up"], facts["adjustment"]) == (
        False, True, "backward_difference",
    )  # fmt: skip
    assert facts["contracts"]["H24"] == {"complete": False, "made_up": True}


def test_a_continuous_series_has_a_fingerprint_and_a_description(manager: DataManager) -> None:
    frames, rolls = four_contracts()
    got = stitch(frames, rolls)
    assert fingerprint(got) == fingerprint(got.copy())
    assert fingerprint(got) != fingerprint(stitch(frames, rolls, "none"))
    text = str(describe(got))
    assert f"continuous   backward_difference, {len(got)} bars, 2024-" in text
    assert "H24          no provenance" in text and "has none" not in text
    bars = manager.get_ohlcv("AAPL", "1d", "2024-01-02", "2024-01-05", adjustment="raw")
    got = stitch({"A": bars, "B": bars}, [("2024-01-04", "A", "B")])
    part = describe(got.iloc[1:])
    assert part.told["rolls"][0]["to"] == "B" and "this frame has 3 rows" in part.changed
    assert "B            4 bars, 2024-01-02" in str(part)
    assert "roll         2024-01-04T00:00:00Z: A to B" in str(part)


def test_a_fingerprint_names_the_column_that_is_not_numeric() -> None:
    frame = contract(1.0, 2.0).assign(note="x")
    with pytest.raises(ValueError, match=r"the column 'note' is not numeric: .*; leave it out"):
        fingerprint(frame)


# --- what is known by a time --------------------------------------------------------------------


@pytest.mark.parametrize("day", range(1, 12))
def test_only_bars_and_rolls_known_by_a_time_count(day: int) -> None:
    frames, rolls = four_contracts()
    known = [row for row in rolls if pd.Timestamp(row[0]) <= DAYS[day]]
    kept = {n: f.loc[: DAYS[day]] for n, f in frames.items() if f.index[0] <= DAYS[day]}
    used = {"H24", *(row[2] for row in known)}
    expected = stitch({n: f for n, f in kept.items() if n in used}, known) if known else kept["H24"]
    got = stitch(frames, rolls, closed_by=DAYS[day].date())
    assert got["close"].tolist() == expected["close"].tolist()
    assert set(got["contract"]) <= used


def test_a_roll_counts_once_its_bar_has_closed() -> None:
    frames, rolls = four_contracts()
    end = DAYS[5] + pd.Timedelta(days=1)
    assert stitch(frames, rolls, closed_by=end)["contract"].iloc[-1] == "M24"
    early = stitch(frames, rolls, closed_by=end - pd.Timedelta(milliseconds=1))
    assert set(early["contract"]) == {"H24"}
    assert early.index[-1] == DAYS[4]
    assert set(early["offset"]) == {0.0}


def test_answers_of_the_manager_close_by_their_calendar(manager: DataManager) -> None:
    """A session of a share ends at 16:00 in New York, which is 21:00 UTC in January."""
    bars = manager.get_ohlcv("AAPL", "1d", "2024-01-02", "2024-01-05", adjustment="raw")
    frames = {"A": bars, "B": bars}
    rolls = [("2024-01-04", "A", "B")]
    for hour, last in (("20:59", "2024-01-03"), ("21:00", "2024-01-04")):
        got = stitch(frames, rolls, closed_by=f"2024-01-04T{hour}")
        assert str(got.index[-1].date()) == last


def test_the_length_of_bars_must_be_known_to_cut_them() -> None:
    monthly = contract(1.0, 2.0, 3.0).set_index(pd.date_range("2024-01-01", periods=3, freq="MS"))
    frames = {"A": monthly, "B": monthly}
    rolls = [("2024-02-01", "A", "B")]
    assert len(stitch(frames, rolls)) == 3
    with pytest.raises(QueryError, match=r"unknown when these bars close; .* is 29 days"):
        stitch(frames, rolls, closed_by="2024-03-15")


def test_nothing_had_closed() -> None:
    frames, rolls = four_contracts()
    with pytest.raises(QueryError, match="no bar of H24 had closed by 2024-03-04"):
        stitch(frames, rolls, closed_by="2024-03-03")
    with pytest.raises(BadRangeError, match="closed_by 'soon' is not a time"):
        stitch(frames, rolls, closed_by="soon")


# --- rolls --------------------------------------------------------------------------------------


def test_rolls_are_a_table_a_file_or_tuples(tmp_path: Path) -> None:
    frames, rolls = four_contracts()
    table = pd.DataFrame(rolls, columns=["at", "from", "to"])
    table["at"] = pd.to_datetime(table["at"]).dt.tz_localize("UTC")
    path = tmp_path / "rolls.csv"
    rows = "".join(f"{', '.join(row)}\n" for row in rolls)
    path.write_text(f"# quarterly\nat, from, to\n\n{rows}")
    expected = stitch(frames, rolls)
    for given in (table, path, str(path)):
        pd.testing.assert_frame_equal(stitch(frames, given), expected)
    made = rolls_by_volume({"A": contract(1, 1, 1), "B": contract(1, 1, 1, volume=[1, 1000, 1])})
    made.to_csv(path, index=False)
    assert len(stitch({"A": contract(1, 1, 1), "B": contract(2, 2, 2)}, path)) == 3


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda r: [r[1], r[0], r[2]], r"roll 2 \(the roll from H24 to M24 .* is before"),
        (lambda r: [r[0], r[0], r[1]], r"roll 2 .* is at the time of the one in front of it"),
        (lambda r: [r[0], r[2]], "roll 2 .* does not begin with M24, to which the last one leads"),
        (lambda r: [*r, ("2024-03-19", "Z24", "H24")], "roll 4 .* leads back to a contract"),
        (lambda r: [("2024-03-11", "H24", "H24")], "roll 1 .* leads back"),
        (lambda r: [("2024-03-11", "H24", "M24x")], "unknown contract 'M24x'.*did you mean 'M24'"),
        (
            lambda r: [("2024-03-09", "H24", "M24")],
            "from H24 to M24 at 2024-03-09 .* of both; H24 and M24 has none then "
            r"\(H24 has bars from 2024-03-04 .* and M24 has bars from 2024-03-07 .* to 2024-03-13",
        ),
        (lambda r: [("2024-03-12", "H24", "M24")], "of both; H24 has none then"),
        (lambda r: [("2024-03-06", "H24", "M24")], "of both; M24 has none then"),
        (lambda r: [("2024-03-07", "H24", "M24")], "H24 and M24 have no bar in common before it"),
        (lambda r: [("Monday", "H24", "M24")], "roll 1: at 'Monday' is not a time"),
        (lambda r: [("2024-03-11", "H24")], "roll 1 must be at, from, to"),
        (lambda r: pd.DataFrame({"at": [], "from": []}), "the table of rolls lacks to"),
        (lambda r: ["abc"], "rolls must be a table, a file or tuples"),
        (lambda r: 7, "rolls must be a table, a file or tuples, not 7"),
        (lambda r: [], "there is no roll"),
    ],
)  # fmt: skip
def test_rolls_that_cannot_be_used_are_named(change: Any, message: str) -> None:
    frames, rolls = four_contracts()
    with pytest.raises(QueryError, match=message):
        stitch(frames, change(rolls))


def test_a_roll_without_bars_before_closed_by_is_no_future_roll() -> None:
    """A Saturday before the time is a mistake in the table, not a roll that is still to come."""
    frames, _ = four_contracts()
    with pytest.raises(QueryError, match="H24 and M24 has none then"):
        stitch(frames, [("2024-03-09", "H24", "M24")], closed_by="2024-03-12")


def test_files_that_cannot_be_used_are_named(tmp_path: Path) -> None:
    frames, _ = four_contracts()
    with pytest.raises(StorageError, match="cannot be read"):
        stitch(frames, tmp_path / "none.csv")
    path = tmp_path / "rolls.csv"
    for text in ("", "2024-03-11,H24,M24\n", "from,to,at\n"):
        path.write_text(text)
        with pytest.raises(QueryError, match=r"the first line of .* is not at,from,to"):
            stitch(frames, path)


def test_one_contract_needs_no_roll() -> None:
    got = stitch({"H24": contract(1.0, 2.0)}, [])
    assert got["close"].tolist() == [1.0, 2.0]
    assert set(got["contract"]) == {"H24"}


# --- contracts ----------------------------------------------------------------------------------


def crude() -> tuple[Frames, list[tuple[Any, str, str]]]:
    """Return two contracts of crude oil, the first of which settles at -37.63 as in April 2020."""
    may = contract(18.27, -37.63, 10.01)
    return {"CLK20": may, "CLM20": contract(25.03, 20.43, 11.57)}, [(DAYS[2], "CLK20", "CLM20")]


@pytest.mark.parametrize("mode", ["backward_ratio", "forward_ratio"])
def test_ratios_of_negative_prices_are_refused_with_the_reason(mode: Any) -> None:
    frames, rolls = crude()
    with pytest.raises(
        QueryError,
        match=r"CLK20 has the price -37.63 at 2024-03-05 .*, and a ratio needs prices above zero "
        r"\(use adjust='backward_difference'\)",
    ):
        stitch(frames, rolls, mode)


@pytest.mark.parametrize("price", ["open", "low"])
def test_a_price_of_zero_anywhere_in_the_series_is_refused(price: str) -> None:
    frames = {"A": contract(1.0, 2.0, 2.0), "B": contract(1.0, 1.0, 1.0)}
    frames["B"].loc[DAYS[2], price] = 0.0
    with pytest.raises(QueryError, match=r"B has the price 0 at 2024-03-06 .*above zero"):
        stitch(frames, [(DAYS[2], "A", "B")], "backward_ratio")
    assert len(stitch(frames, [(DAYS[2], "A", "B")])) == 3


def test_differences_of_negative_prices_are_right() -> None:
    frames, rolls = crude()
    got = stitch(frames, rolls)
    assert got["offset"].tolist() == [58.06, 58.06, 0.0]  # 20.43 + 37.63
    assert got["close"].tolist() == pytest.approx([76.33, 20.43, 11.57])


def test_a_negative_close_that_only_measures_the_roll_is_refused_too() -> None:
    frames = {"A": contract(1.0, 2.0, 2.0), "B": contract(-1.0, 1.0, 1.0)}
    with pytest.raises(QueryError, match="B has the price -1 at 2024-03-04"):
        stitch(frames, [(DAYS[1], "A", "B")], "backward_ratio")


def noted(frame: pd.DataFrame, facts: dict[str, Any] | None = None, **notes: Any) -> pd.DataFrame:
    """Return a frame with provenance and notes of its owner."""
    frame = frame.copy()
    frame.attrs |= notes | ({ATTRS_KEY: freeze(facts)} if facts else {})
    return frame


@pytest.mark.parametrize(
    ("one", "other", "message"),
    [
        ({"currency": "USD"}, {"currency": "EUR"}, "different currencies: USD and EUR"),
        ({"multiplier": 50}, {"multiplier": 5}, "different multipliers: 50 and 5"),
        (
            {"facts": {"kind": {"unit": "USD"}}},
            {"currency": "USDT"},
            "different currencies: USD and USDT",
        ),
        (
            {"facts": {"kind": {"session": "24h"}}},
            {"facts": {"kind": {"session": "regular"}}},
            "different session: 24h and regular",
        ),
        (
            {"facts": {"timeframe": "1d"}},
            {"facts": {"timeframe": "1w"}},
            "different timeframes: 1d and 1w",
        ),
    ],
)
def test_contracts_that_differ_in_kind_are_refused(
    one: dict[str, Any], other: dict[str, Any], message: str
) -> None:
    bars = contract(1.0, 2.0, 3.0)
    rolls = [(DAYS[1], "A", "B")]
    with pytest.raises(QueryError, match=f"A and B have {message}"):
        stitch({"A": noted(bars, **one), "B": noted(bars, **other)}, rolls)
    assert len(stitch({"A": noted(bars, **one), "B": noted(bars, **one)}, rolls)) == 3
    assert len(stitch({"A": noted(bars, **one), "B": bars}, rolls)) == 3, "not stated"


@pytest.mark.parametrize(
    ("frame", "message"),
    [
        (noted(contract(1.0), {"adjustment": "all"}), "B has adjusted prices .all"),
        (noted(contract(1.0), {"adjustment": "split"}), "B has adjusted prices .split"),
        (
            contract(1.0, adj_close=0.9),
            "B has adjusted prices .unknown, its adjusted closes differ",
        ),
        (noted(contract(1.0), {"symbol": "ES=F"}), "ES=F is Yahoo's own splice"),
        (contract(1.0).iloc[:0], "B: the frame has no bars"),
        (contract(1.0, 2.0).iloc[::-1], "B: the bar at 2024-03-04 .* is not after the one before"),
        (contract(1.0).drop(columns="close"), "B: the frame lacks the column close"),
        ("ESM24", "B is not a frame of bars"),
    ],
)
def test_frames_that_cannot_be_used_are_named(frame: Any, message: str) -> None:
    with pytest.raises(QueryError, match=message):
        stitch({"A": contract(1.0, 2.0), "B": frame}, [(DAYS[1], "A", "B")])


def test_bars_of_two_lengths_are_refused_without_provenance_too() -> None:
    """Days and hours share the bar at midnight, at which a roll would join them."""
    hours = contract(*range(1, 13)).set_axis(pd.date_range(DAYS[0], periods=12, freq="h"))
    days = contract(*range(1, 13))
    for one, other in ((days, hours), (hours, days)):
        with pytest.raises(QueryError, match=r"different distances between bars.*state the length"):
            stitch({"A": one, "B": other}, [(DAYS[0] + pd.Timedelta(hours=1), "A", "B")])
    # Two bars of hours on either side of a pause are bars of hours.
    few = contract(5.0, 6.0).set_axis(hours.index[[5, 8]])
    with pytest.raises(QueryError, match="different distances"):
        stitch({"A": hours, "B": few}, [(hours.index[8], "A", "B")])
    stated = [noted(hours, timeframe="1h"), noted(few, timeframe="1h")]
    got = stitch(dict(zip("AB", stated, strict=True)), [(hours.index[8], "A", "B")])
    assert len(got) == 9 and got.attrs[ATTRS_KEY]["timeframe"] == "1h"
    with pytest.raises(QueryError, match="different timeframes: 1h and 1d"):
        stitch({"A": stated[0], "B": noted(days, timeframe="1d")}, [(DAYS[0], "A", "B")])
    weekend = contract(1.0, 2.0).set_axis(DAYS[[4, 5]])
    assert len(stitch({"A": days, "B": weekend}, [(DAYS[5], "A", "B")])) == 6


def test_the_currency_of_the_contracts_is_kept() -> None:
    frames, rolls = four_contracts()
    frames = {name: noted(frame, currency="USD", multiplier=50) for name, frame in frames.items()}
    assert {"currency": "USD", "multiplier": 50}.items() <= stitch(frames, rolls).attrs.items()


def test_an_equal_adjusted_close_is_no_adjustment() -> None:
    same = contract(1.0, 2.0, adj_close=[1.0, 2.0])
    assert "adj_close" not in stitch({"A": same}, [])


def test_the_splice_of_yahoo_is_refused_by_its_name() -> None:
    with pytest.raises(QueryError, match="CL=F is Yahoo's own splice, which does not say which"):
        stitch({"CL=F": contract(1.0)}, [])


@pytest.mark.parametrize("frames", [{}, None, [contract(1.0)]])
def test_frames_need_names(frames: Any) -> None:
    with pytest.raises(QueryError, match="frames must map names of contracts to frames"):
        stitch(frames, [])


def test_an_unknown_adjustment_is_named() -> None:
    with pytest.raises(QueryError, match=r"unknown adjustment 'backward_ratios'.*'backward_ratio'"):
        stitch({"A": contract(1.0)}, [], "backward_ratios")  # type: ignore[arg-type]


def test_a_close_that_is_not_a_number_decides_nothing() -> None:
    frames = {"A": contract(1.0, 2.0), "B": contract(math.nan, 2.0)}
    with pytest.raises(QueryError, match=r"the closes at 2024-03-04 .* are 1\.0 and nan"):
        stitch(frames, [(DAYS[1], "A", "B")])


# --- rules --------------------------------------------------------------------------------------


def test_rolls_by_days_are_at_the_first_common_bar() -> None:
    frames, _ = four_contracts()
    expiries = {
        "H24": DAYS[5].date(),
        "M24": "2024-03-14",
        "U24": "2024-09-20",
        "Z24": "2024-12-20",
    }
    got = rolls_by_days(dict(reversed(frames.items())), expiries, days=2)
    # 11 March less 2 days is a Saturday; 14 March less 2 is a Tuesday; September is still to come.
    assert list(got.itertuples(index=False, name=None)) == [
        (pd.Timestamp("2024-03-11"), "H24", "M24"),
        (pd.Timestamp("2024-03-12"), "M24", "U24"),
    ]


@pytest.mark.parametrize(
    ("expiries", "days", "message"),
    [
        ({"A": "2024-03-08"}, 1, "no expiry is given for B"),
        ({"A": "2024-03-08", "B": "2024-03-08"}, 1, "A and B have the same expiry"),
        ({"A": "March", "B": "2024-03-08"}, 1, "the expiry of A 'March' is not a time"),
        ({"A": "2024-03-08", "B": "2024-06-21"}, -1, "days -1 is not a whole number from 0 on"),
        ({"A": "2024-03-08", "B": "2024-06-21"}, 2.5, "days 2.5 is not a whole number"),
        (
            {"A": "2024-03-06", "B": "2024-06-21"},
            0,
            "A and B have no bar in common from 2024-03-06",
        ),
    ],
)
def test_expiries_that_cannot_be_used_are_named(
    expiries: dict[str, str], days: Any, message: str
) -> None:
    frames = {"A": contract(1.0, 2.0, 3.0), "B": contract(1.0, 2.0, first=3)}
    with pytest.raises(QueryError, match=message):
        rolls_by_days(frames, expiries, days)


def test_a_volume_rule_lags_one_session() -> None:
    old = contract(*[1.0] * 6, volume=[9, 9, 5, 5, 5, 5])
    new = contract(*[1.0] * 6, volume=[1, 2, 6, 7, 8, 9])
    for lag, day in ((1, 3), (2, 4)):
        got = rolls_by_volume({"A": old, "B": new}, lag)
        assert got["at"].tolist() == [DAYS[day]]
    assert stitch({"A": old, "B": new}, got)["contract"].tolist() == ["A"] * 4 + ["B"] * 2


def test_a_volume_rule_without_lag_is_refused() -> None:
    with pytest.raises(QueryError, match="lag 0 would roll in the session whose volume decides"):
        rolls_by_volume({"A": contract(1.0), "B": contract(1.0)}, lag=0)


def test_rolls_by_volume_do_not_change_when_bars_are_added() -> None:
    """A table made on any day has the rolls up to that day of the table made at the end."""
    rng = random.Random(7)
    for _ in range(40):
        volumes = [[rng.randrange(1, 50) for _ in DAYS] for _ in range(3)]
        frames = {n: contract(*[1.0] * 12, volume=v) for n, v in zip("ABC", volumes, strict=True)}
        whole = rolls_by_volume(frames)
        for day in range(1, 12):
            cut = rolls_by_volume({n: f.loc[: DAYS[day]] for n, f in frames.items()})
            assert cut.equals(whole[whole["at"] <= DAYS[day]])


@pytest.mark.parametrize(
    ("frames", "message"),
    [
        (
            {"A": contract(1, 1), "B": contract(1)},
            "B ends at 2024-03-04 .*, before A at 2024-03-05",
        ),
        (
            {"A": contract(1, 1), "B": contract(1, 1, 1)},
            "A ends at 2024-03-05 .*before a roll to B",
        ),
        (
            {"A": contract(1, 1), "B": contract(1, 1, 1, volume=[1, 999, 999])},
            "A ends at 2024-03-05 .*, before a roll to B by volume",
        ),
        ({"A": contract(1).shift(freq="1h"), "B": contract(1)}, "A: volume is compared by session"),
    ],
)
def test_volumes_that_cannot_be_compared_are_named(frames: Frames, message: str) -> None:
    with pytest.raises(QueryError, match=message):
        rolls_by_volume(frames)


def test_no_roll_yet() -> None:
    got = rolls_by_volume({"A": contract(1, 1), "B": contract(1, 1, volume=1)})
    assert list(got) == ["at", "from", "to"]
    assert got.empty


def test_hours_are_joined_as_well() -> None:
    hours = pd.date_range("2024-03-28 04:00", periods=4, freq="h")
    old = contract(1.0, 2.0, 3.0, 4.0).set_index(hours)
    got = stitch({"BTCUSDT_240329": old, "BTCUSDT_240628": old * 2}, [
        ("2024-03-28T06:00Z", "BTCUSDT_240329", "BTCUSDT_240628"),
    ], closed_by="2024-03-28T07:30Z")  # fmt: skip
    # The fourth hour had not closed, the third is the first one of June.
    assert got["close"].tolist() == [3.0, 4.0, 6.0]
    assert got["contract"].iloc[-1] == "BTCUSDT_240628"
