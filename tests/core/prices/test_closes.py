"""Closes before ex-dates out of fully adjusted prices: the inverse, exact and within its bound."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import date, timedelta

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from src.data.core.model.identity.kind import Adjustment
from src.data.core.model.market.actions import Action
from src.data.core.model.market.bars import BarTable
from src.data.core.model.time.instant import DAY_MS, date_of, day_ms
from src.data.core.model.time.span import Span
from src.data.core.prices.adjustment import BasisPart, ClosesBefore, LastSession, rebase
from src.data.errors import KindMismatchError
from tests.reference import needs_reference

from .test_adjustment import _actions, _series, daily, days, dividend, part, split

FIRST = date(2020, 1, 6)
EX = date(2020, 1, 9)
AS_OF = date(2020, 6, 30)


def closes(
    table: BarTable, parts: Sequence[BasisPart], actions: Sequence[Action], as_of: date = AS_OF
) -> ClosesBefore:
    def last_session(day: date) -> LastSession | None:
        rows = table.within(Span(0, day_ms(day)))
        return LastSession(rows, parts) if len(rows) else None

    return ClosesBefore(actions, as_of, last_session)


def converted(
    table: BarTable, parts: Sequence[BasisPart], actions: Sequence[Action], target: Adjustment,
    as_of: date = AS_OF,
) -> BarTable:  # fmt: skip
    return rebase(
        table, parts, actions, target, as_of=as_of, intraday=False,
        close_before=closes(table, parts, actions, as_of),
    )  # fmt: skip


class TestByHand:
    # 100 before a dividend of 5 is 95 adjusted; 80 before one of 4 is 76, and 95 becomes 90.25.
    LATER = date(2020, 1, 12)
    PAID = (dividend(EX, 5.0, as_paid=True), dividend(LATER, 4.0, as_paid=True))
    RAW = daily(FIRST, [100.0, 100.0, 100.0, 90.0, 80.0, 80.0, 70.0])

    def test_raw_prices_become_fully_adjusted_prices(self) -> None:
        done = converted(self.RAW, [part("raw")], self.PAID, "all")
        assert done.close.tolist() == [90.25, 90.25, 90.25, 85.5, 76.0, 76.0, 70.0]

    def test_a_close_is_rebuilt_from_the_adjusted_close_and_the_dividend(self) -> None:
        table = daily(FIRST, [90.25, 90.25, 90.25, 85.5, 76.0, 76.0, 70.0])
        found = closes(table, [part("all", AS_OF)], self.PAID)
        assert (found(EX), found(self.LATER)) == (100.0, 80.0)
        for target in ("raw", "split"):
            done = converted(table, [part("all", AS_OF)], self.PAID, target)  # type: ignore[arg-type]
            assert done.close.tolist() == self.RAW.close.tolist()
            assert done.volume.tolist() == self.RAW.volume.tolist()

    def test_a_split_behind_the_dividends_and_amounts_told_before_and_after_it(self) -> None:
        halved = split(date(2020, 2, 3), 2)
        raw = converted(self.RAW, [part("raw")], [*self.PAID, halved], "all")
        assert raw.close[0] == 45.125
        told = [dividend(EX, 2.5, fetched_at=day_ms(AS_OF)), self.PAID[1], halved]
        found = closes(raw, [part("all", AS_OF)], told)
        assert (found(EX), found(self.LATER)) == (50.0, 40.0)
        back = converted(raw, [part("all", AS_OF)], told, "raw")
        assert back.close.tolist() == self.RAW.close.tolist()

    def test_a_dividend_behind_the_vendors_knowledge_is_not_in_its_price(self) -> None:
        table = daily(FIRST, [95.0, 95.0, 95.0, 90.0])
        held = [part("all", EX)]
        assert closes(table, held, self.PAID)(EX) == 100.0
        done = converted(table, held, self.PAID, "split")
        assert done.close.tolist() == [100.0, 100.0, 100.0, 90.0]
        longer = daily(FIRST, [95.0, 95.0, 95.0, 90.0, 80.0, 80.0])
        assert closes(longer, held, self.PAID)(self.LATER) == 80.0

    def test_closes_of_another_vendor_are_taken_as_they_are(self) -> None:
        table = daily(FIRST, [90.25, 90.25, 100.0, 85.5, 76.0, 76.0, 70.0])
        eighth = days(date(2020, 1, 8), date(2020, 1, 8))
        held = [part("all", AS_OF), part("raw", None, eighth)]
        assert closes(table, held, self.PAID)(EX) == 100.0

    def test_the_word_of_the_bars_own_vendor_undoes_its_adjustment(self) -> None:
        table = daily(FIRST, [90.0, 90.0, 90.0, 90.0])
        held = [BasisPart(days(FIRST, AS_OF), part("all", AS_OF).basis, "mine")]
        theirs = [dividend(EX, 5.0, as_paid=True)]
        own = {"mine": [dividend(EX, 10.0, as_paid=True)]}

        def last_session(day: date) -> LastSession:
            return LastSession(table.within(Span(0, day_ms(day))), held)

        found = ClosesBefore(theirs, AS_OF, last_session, lambda vendor: own[vendor])
        assert found(EX) == 100.0
        done = rebase(
            table, held, theirs, "split", as_of=AS_OF, intraday=False, close_before=found,
            own=lambda vendor: own[vendor],
        )  # fmt: skip
        assert done.close.tolist() == [100.0, 100.0, 100.0, 90.0]

    def test_a_column_of_adjusted_closes_is_bridged_by_them(self) -> None:
        early = self.RAW.with_adj_close(self.RAW.close)
        done = converted(early, [part("split", FIRST)], self.PAID, "all")
        assert done.adj_close is not None
        assert done.adj_close.tolist() == done.close.tolist()

    def test_a_conversion_without_known_closes_is_refused(self) -> None:
        table = daily(FIRST, [95.0, 95.0, 95.0, 90.0])
        unheard = ClosesBefore(self.PAID, AS_OF, lambda _: None)
        assert unheard(EX) is None
        with pytest.raises(KindMismatchError, match="close before it is not known"):
            rebase(table, [part("all", AS_OF)], self.PAID, "split", as_of=AS_OF, intraday=False,
                   close_before=unheard)  # fmt: skip
        with pytest.raises(KindMismatchError, match="it is unknown whether"):
            closes(table, [part("unknown")], self.PAID)(EX)

    def test_each_close_is_read_once_however_many_dividends_there_are(self) -> None:
        paid = [dividend(FIRST + timedelta(days=n), 0.01, as_paid=True) for n in range(1, 60)]
        table = daily(FIRST, [50.0] * 60)
        read: list[date] = []

        def last_session(day: date) -> LastSession:
            read.append(day)
            return LastSession(
                table.within(Span(day_ms(day) - DAY_MS, day_ms(day))),
                [part("all", date(2022, 1, 3))],
            )

        found = ClosesBefore(paid, date(2022, 1, 3), last_session)
        assert found(paid[0].ex_date) is not None
        assert sorted(read) == [a.ex_date for a in paid]


# --- the bound -----------------------------------------------------------------------------

quick = settings(max_examples=60, derandomize=True, deadline=None)


@quick
@given(
    st.lists(st.floats(5, 500).map(lambda x: round(x, 2)), min_size=12, max_size=12),
    st.lists(st.integers(1, 11), unique=True, max_size=5),
    st.lists(st.floats(0.01, 0.2), min_size=5, max_size=5),
    st.sampled_from([2, 3, 4, 12]),
)
def test_rounding_comes_back_less_than_doubled(
    prices: list[float], places: list[int], yields: list[float], digits: int
) -> None:
    raw = daily(FIRST, prices)
    paid = [
        dividend(FIRST + timedelta(days=n), round(prices[n - 1] * share, 4), as_paid=True)
        for n, share in zip(sorted(places), yields, strict=False)
    ]
    exact = converted(raw, [part("raw")], paid, "all")
    told = BarTable(exact.stamps, *(np.round(c, digits) for c in exact.values()[:4]), exact.volume)
    r = float(np.abs(told.close / exact.close - 1).max())
    back = converted(told, [part("all", AS_OF)], paid, "raw")
    factor = exact.close / raw.close
    off = np.abs(back.close / raw.close - 1)
    assert (off <= r * (2 - factor) * (1 + 2 * r) + 1e-14).all()


# --- published series ----------------------------------------------------------------------


@needs_reference
class TestPublished:
    """Series of twenty-three years with every dividend and split of them."""

    def _full(self, symbol: str) -> tuple[BarTable, BarTable, list[Action], date]:
        raw = _series(f"{symbol}-1d-1998-2021-raw.csv.gz")
        sessions = [date_of(int(stamp)) for stamp in raw.stamps]
        actions, _ = _actions(f"{symbol}-factors.csv", sessions)
        return raw, self._converted(raw, [part("raw")], actions, "all"), actions, sessions[-1]

    def _converted(
        self, table: BarTable, parts: list[BasisPart], actions: list[Action], target: Adjustment
    ) -> BarTable:
        as_of = date_of(int(table.stamps[-1]))

        def last_session(day: date) -> LastSession:
            return LastSession(table.within(Span(day_ms(day) - 14 * DAY_MS, day_ms(day))), parts)

        found = ClosesBefore(actions, as_of, last_session)
        return rebase(
            table, parts, actions, target, as_of=as_of, intraday=False, close_before=found
        )

    @pytest.mark.parametrize("symbol", ["AAPL", "SPY"])
    def test_raw_to_all_and_back_knowing_no_close(self, symbol: str) -> None:
        raw, full, actions, as_of = self._full(symbol)
        shares = np.prod([float(a.ratio) for a in actions])
        assert full.close[0] * shares / raw.close[0] < 0.9, "dividends matter here"
        back = self._converted(full, [part("all", as_of)], actions, "raw")
        for was, now in zip(raw.values()[:5], back.values()[:5], strict=True):
            assert np.abs(now / was - 1).max() < 1e-15

    @pytest.mark.parametrize("symbol", ["AAPL", "SPY"])
    @pytest.mark.parametrize("digits", [2, 4])
    def test_rounded_as_vendors_do(self, symbol: str, digits: int) -> None:
        raw, full, actions, as_of = self._full(symbol)
        cut = [np.round(column, digits) for column in full.values()[:4]]
        told = BarTable(full.stamps, *cut, full.volume)
        r = np.abs(told.close / full.close - 1)
        back = self._converted(told, [part("all", as_of)], actions, "raw")
        assert (np.abs(back.close / raw.close - 1) <= r + r.max()).all()
