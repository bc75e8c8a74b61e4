"""Records of bots, trades and positions, on both engines; arithmetic is checked by exact fractions."""

from __future__ import annotations

import inspect
import random
from datetime import UTC, date, datetime, timedelta
from decimal import Decimal
from fractions import Fraction
from typing import Any
from uuid import UUID
from zoneinfo import ZoneInfo

import pytest
from sqlalchemy import select
from sqlalchemy.exc import IntegrityError

from src.data.clock import ManualClock
from src.data.config.rules_file import load_rules
from src.data.db.core.database import Database
from src.data.db.models import Position
from src.data.db.repos.repo_trading import PositionsRepo, TradeRepository
from src.data.db.services import trading_service
from src.data.db.services.database_service import DatabaseService
from src.data.db.services.trading_service import TradingService
from src.data.errors import DatabaseError, QueryError
from tests.cache.counts import FULL

NOW = datetime(2026, 3, 10, 15, 0, tzinfo=UTC)


@pytest.fixture
def clock() -> ManualClock:
    return ManualClock(int(NOW.timestamp() * 1000))


@pytest.fixture
def db(database: Database, clock: ManualClock) -> TradingService:
    return TradingService.of(database, clock)


def is_random(key: object) -> bool:
    """Return whether a key is the text of a random UUID."""
    return isinstance(key, str) and str(UUID(key)) == key and UUID(key).version == 4


def _open(db: TradingService, direction: str = "long", **more: Any) -> Any:
    own = {"bot_id": "bot1", "trade_type": "paper", "symbol": "AAPL"}
    return db.ensure_open_position(**own, direction=direction, **more)["id"]  # type: ignore[arg-type]


# --- positions -----------------------------------------------------------------------------------


def test_a_position_is_averaged_reduced_and_closed(db: TradingService) -> None:
    number = _open(db)
    assert is_random(number)
    db.apply_fill(number, action="buy", qty=1, price=100)
    row = db.apply_fill(number, action="buy", qty=1, price=110)
    assert (row["qty_open"], row["avg_price"]) == (2, 105)
    row = db.apply_fill(number, action="SELL", qty=1, price=120)
    assert (row["realized_pnl"], row["qty_open"], row["status"]) == (15, 1, "open")
    with pytest.raises(ValueError, match="exceeds the long position"):
        db.apply_fill(number, action="sell", qty=2, price=120)
    row = db.apply_fill(number, action="sell", qty=1, price=120)
    assert (row["status"], row["avg_price"], row["closed_at"]) == ("closed", None, NOW)
    assert isinstance(row["realized_pnl"], Decimal)
    with pytest.raises(QueryError):
        db.apply_fill(number, action="buy", qty=1, price=1)
    assert db.get_open_positions() == []


class Reference:
    """A position as a list of fills would have it, in fractions."""

    def __init__(self, sign: int) -> None:
        self.sign, self.quantity, self.cost, self.realized = (
            sign,
            Fraction(0),
            Fraction(0),
            Fraction(0),
        )

    def fill(self, is_adding: bool, quantity: Fraction, price: Fraction) -> None:
        if is_adding:
            self.quantity += quantity
            self.cost += quantity * price
            return
        share = self.cost * quantity / self.quantity
        self.realized += self.sign * (quantity * price - share)
        self.quantity -= quantity
        self.cost -= share


@pytest.mark.parametrize("seed", range(6))
def test_positions_are_exact_to_the_last_digit(database: Database, seed: int) -> None:
    chance = random.Random(seed)
    direction = chance.choice(["long", "short"])
    adds, reduces = ("buy", "sell") if direction == "long" else ("sell", "buy")
    reference = Reference(1 if direction == "long" else -1)
    service = DatabaseService(database)
    with service.uow() as repos:
        row = repos.positions.ensure_open(
            bot_id=1, trade_type="live", symbol="BTCUSDT", direction=direction
        )
    for _ in range(40):
        quantity = Decimal(chance.randint(1, 10**12)).scaleb(-8)
        price = Decimal(chance.randint(1, 10**15)).scaleb(-chance.randint(0, 8))
        is_adding = chance.random() < 0.55 or not reference.quantity
        if not is_adding:
            quantity = min(quantity, row.qty_open)
        with service.uow() as repos:
            row = repos.positions.apply_fill(
                position_id=row.id,
                action=adds if is_adding else reduces,
                qty=quantity,
                price=price,
                close_when_flat=False,
            )
        reference.fill(is_adding, Fraction(quantity), Fraction(price))
        assert Fraction(row.qty_open) == reference.quantity
        assert PositionsRepo.total_pnl(row) == row.realized_pnl == _nearest(reference.realized)
        if reference.quantity:
            mean = reference.cost / reference.quantity
            assert row.avg_price == _nearest(mean)
            worth = reference.sign * (Fraction(price) - mean) * reference.quantity
            assert PositionsRepo.unrealized_pnl(row, mark_price=price) == _nearest(worth)
        else:
            assert row.avg_price is None
    with service.uow() as repos:
        (stored,) = repos.positions.open_positions(bot_id="1")
        assert (stored.qty_open, stored.realized_pnl) == (row.qty_open, row.realized_pnl)


def _nearest(value: Fraction) -> Decimal:
    """Return the decimal of 18 places that is nearest, half to even."""
    return Decimal(f"{round(value * 10**18)}e-18")


def test_a_third_is_no_loss(db: TradingService) -> None:
    number = _open(db)
    db.apply_fill(number, action="buy", qty=1, price=1)
    row = db.apply_fill(number, action="buy", qty=2, price=2)
    assert row["avg_price"] == Decimal("1.666666666666666667")
    row = db.apply_fill(number, action="sell", qty=3, price="1.666666666666666667")
    assert row["realized_pnl"] == Decimal("0.000000000000000001")


def test_a_float_has_the_digits_of_its_text(db: TradingService) -> None:
    number = _open(db)
    row = db.apply_fill(number, action="buy", qty=0.1, price=123456789012.12345678)
    assert row["qty_open"] == Decimal("0.1")
    row = db.apply_fill(
        number, action="buy", qty=Decimal("0.2"), price=Decimal("123456789012.12345678")
    )
    assert row["qty_open"] == Decimal("0.3")


@pytest.mark.parametrize(
    "fill",
    [
        {"qty": 0}, {"qty": -1}, {"price": 0}, {"price": "x"}, {"qty": float("nan")},
        {"price": float("inf")}, {"qty": True}, {"qty": None}, {"action": "hold"}, {"action": None},
        {"price": "1e99999"},
    ],
)  # fmt: skip
def test_an_invalid_fill_is_refused_and_changes_no_position(
    db: TradingService, fill: dict[str, Any]
) -> None:
    number = _open(db)
    before = db.apply_fill(number, action="buy", qty=1, price=100)
    with pytest.raises(QueryError):
        db.apply_fill(number, **{"action": "buy", "qty": 1, "price": 1, **fill})
    assert db.get_open_positions() == [before]
    with pytest.raises(QueryError):
        db.apply_fill("unknown", action="buy", qty=1, price=1)


def test_one_position_of_a_kind_is_open(db: TradingService, database: Database) -> None:
    number = _open(db)
    assert _open(db) == number
    with pytest.raises(QueryError, match="an open long position"):
        _open(db, "short")
    with pytest.raises(QueryError):
        _open(db, "sideways")

    def add_second() -> None:
        with database.writing() as session:
            row = session.scalars(select(Position)).one()
            session.add(Position(
                id="2", bot_id=row.bot_id, trade_type=row.trade_type, symbol=row.symbol,
                direction="long", opened_at=NOW, qty_open=Decimal(0), realized_pnl=Decimal(0),
                cash=Decimal(0), status="open", actions={},
            ))  # fmt: skip

    with pytest.raises(DatabaseError) as refusal:
        add_second()
    assert isinstance(refusal.value.__cause__, IntegrityError)
    db.close_if_flat(number)
    assert _open(db) != number
    assert len(db.get_open_positions(symbol="AAPL")) == 1


def test_a_position_is_closed_without_a_fill(db: TradingService) -> None:
    number = _open(db)
    db.apply_fill(number, action="buy", qty=2, price=100)
    assert db.close_if_flat(number)["status"] == "open"
    db.apply_fill(number, action="sell", qty=1, price=130)
    row = db.mark_closed(number, NOW)
    assert (row["status"], row["qty_open"], row["avg_price"]) == ("closed", 0, None)
    assert row["realized_pnl"] == 30
    assert db.mark_closed(number) == row


# --- splits and dividends ------------------------------------------------------------------------


def test_a_split_changes_a_position_once_and_describes_the_change(
    db: TradingService, clock: ManualClock
) -> None:
    levels = {"stop": "90", "take_profit": 130.0, "threshold": "2", "note": "x"}
    number = _open(db, metadata=levels)
    db.apply_fill(number, action="buy", qty=10, price=100)
    clock.advance(86_400)
    (change,) = db.apply_action("AAPL", date(2026, 3, 11), "split", ratio=4)
    assert change["position_id"] == number
    assert "qty_open 10 to 40" in change["text"]
    assert "stop 90 to 22.5" in change["text"]
    (row,) = db.get_open_positions()
    assert (row["qty_open"], row["avg_price"]) == (40, 25)
    moved = {"stop": "22.5", "take_profit": 32.5, "threshold": "0.5", "note": "x"}
    assert row["extra_metadata"] == moved
    assert row["actions"] == {"2026-03-11 split": change["text"]}
    assert db.apply_action("AAPL", date(2026, 3, 11), "split", ratio=4) == []
    assert db.get_open_positions() == [row]
    sold = db.apply_fill(number, action="sell", qty=40, price=30)
    assert sold["realized_pnl"] == 200


@pytest.mark.parametrize(("direction", "earned"), [("long", 25), ("short", -25)])
def test_a_dividend_lowers_prices_and_counts_as_cash(
    db: TradingService, clock: ManualClock, direction: str, earned: int
) -> None:
    number = _open(db, direction, metadata={"threshold": "95"})
    verbs = ("buy", "sell") if direction == "long" else ("sell", "buy")
    db.apply_fill(number, action=verbs[0], qty=10, price=100)
    clock.advance(86_400)
    db.apply_action("AAPL", date(2026, 3, 11), "dividend", amount="2.5")
    (row,) = db.get_open_positions()
    assert (row["qty_open"], row["avg_price"], row["realized_pnl"]) == (10, Decimal("97.5"), 0)
    assert row["extra_metadata"] == {"threshold": "92.5"}
    closed = db.apply_fill(number, action=verbs[1], qty=10, price=100)
    assert closed["realized_pnl"] == earned


def test_a_reverse_split_keeps_the_amount_paid(db: TradingService, clock: ManualClock) -> None:
    number = _open(db)
    db.apply_fill(number, action="buy", qty=10, price=3)
    clock.advance(86_400)
    db.apply_action("AAPL", date(2026, 3, 11), "split", ratio="1/3")
    (row,) = db.get_open_positions()
    assert row["qty_open"] == Decimal("3.333333333333333333")
    assert row["avg_price"] == Decimal("9.000000000000000001")
    closed = db.apply_fill(number, action="sell", qty=row["qty_open"], price=9)
    assert closed["realized_pnl"] == Decimal("-0.000000000000000003")


def test_an_action_that_cannot_be_applied_changes_no_position(
    db: TradingService, clock: ManualClock
) -> None:
    number = _open(db, metadata={"stop": "2"})
    db.apply_fill(number, action="buy", qty=10, price=100)
    day = date(2026, 3, 11)
    before = db.get_open_positions()
    with pytest.raises(QueryError, match="is in the future"):
        db.apply_action("AAPL", day, "split", ratio=2)
    assert db.apply_action("AAPL", date(2026, 3, 10), "split", ratio=2) == [], "opened on the day"
    clock.advance(86_400)
    for wrong in ({"ratio": 0}, {"ratio": "x"}, {"ratio": "1/0"}, {"ratio": None}, {"ratio": -2}):
        with pytest.raises(QueryError):
            db.apply_action("AAPL", day, "split", **wrong)  # type: ignore[arg-type]
    with pytest.raises(QueryError):
        db.apply_action("AAPL", day, "spinoff", ratio=2)
    with pytest.raises(QueryError, match="would fall"):
        db.apply_action("AAPL", day, "dividend", amount=2)
    assert db.get_open_positions() == before
    db.apply_fill(number, action="buy", qty=1, price=50, ts=NOW + timedelta(days=1))
    with pytest.raises(QueryError, match="had a fill since"):
        db.apply_action("AAPL", day, "split", ratio=2)


# --- order, markets and fees ---------------------------------------------------------------------

WEDNESDAY = date(2026, 3, 11)


def _filled(db: TradingService, symbol: str, moment: datetime) -> Any:
    """Open a position of 10 shares at 100 by a fill at a moment; return its key."""
    own = {"bot_id": symbol, "trade_type": "paper", "symbol": symbol, "direction": "long"}
    number = db.ensure_open_position(**own, opened_at=moment)["id"]  # type: ignore[arg-type]
    db.apply_fill(number, action="buy", qty=10, price=100, ts=moment)
    return number


def test_two_dividends_of_one_day_both_count_each_once(
    db: TradingService, clock: ManualClock
) -> None:
    number = _open(db, metadata={"stop": "90"})
    db.apply_fill(number, action="buy", qty=3, price="33.1")
    clock.advance(86_400)
    for amount in ("0.25", "1.5", 0.25, "1.50"):
        db.apply_action("AAPL", WEDNESDAY, "dividend", amount=amount)
    (row,) = db.get_open_positions()
    assert sorted(row["actions"]) == ["2026-03-11 dividend 0.25", "2026-03-11 dividend 1.5"]
    assert Fraction(row["avg_price"]) == Fraction("33.1") - Fraction(1, 4) - Fraction(3, 2)
    assert row["extra_metadata"] == {"stop": "88.25"}
    sold = db.apply_fill(number, action="sell", qty=3, price="31.35")
    assert Fraction(sold["realized_pnl"]) == 0


def test_a_second_split_of_one_day_is_refused(db: TradingService, clock: ManualClock) -> None:
    number = _open(db)
    db.apply_fill(number, action="buy", qty=10, price=100)
    clock.advance(86_400)
    db.apply_action("AAPL", WEDNESDAY, "split", ratio="4/1")
    assert db.apply_action("AAPL", WEDNESDAY, "split", ratio=4) == []
    before = db.get_open_positions()
    with pytest.raises(QueryError, match=r"by 4 .* by 2"):
        db.apply_action("AAPL", WEDNESDAY, "split", ratio=2)
    assert db.get_open_positions() == before


MARKETS = {
    **{f"ABC{suffix}": one.timezone for suffix, one in load_rules().classification.exchanges.items()},
    "AAPL": "America/New_York", "^GSPC": "America/New_York", "BTCUSDT": "UTC",
}  # fmt: skip


def _begin(symbol: str) -> datetime:
    """Return when the ex-date begins, by the time zone alone; of futures and currencies by hand."""
    if symbol in ("ES=F", "EURUSD=X"):
        return datetime(2026, 3, 10, 22 if symbol == "ES=F" else 21, tzinfo=UTC)
    return datetime(2026, 3, 11, tzinfo=ZoneInfo(MARKETS[symbol])).astimezone(UTC)


def test_an_ex_date_begins_with_the_day_of_its_market(
    database: Database, clock: ManualClock
) -> None:
    clock.advance(3 * 86_400)
    microsecond = timedelta(microseconds=1)
    markets = [*MARKETS, "EURUSD=X", "ES=F"]
    if not FULL:  # one for each time
        chosen = {_begin(symbol): symbol for symbol in markets}.values()
        markets = list(dict.fromkeys([*chosen, "BTCUSDT"]))
    with DatabaseService(database, clock).uow() as repos:
        for symbol in markets:
            begin = _begin(symbol)
            for bot, moment in (("before", begin - microsecond), ("on", begin)):
                row = repos.positions.ensure_open(
                    bot_id=bot,
                    trade_type="paper",
                    symbol=symbol,
                    direction="long",
                    opened_at=moment,
                )
                repos.positions.apply_fill(
                    position_id=row.id, action="buy", qty=1, price=100, ts=moment
                )
            changed = repos.positions.apply_action(symbol, WEDNESDAY, "dividend", amount=1)
            rows = {row.bot_id: row for row in repos.positions.open_positions(symbol=symbol)}
            assert [one["position_id"] for one in changed] == [rows["before"].id], symbol
            assert (rows["before"].avg_price, rows["on"].avg_price) == (99, 100), symbol
            fill: dict[str, Any] = {"action": "buy", "qty": 1, "price": 99}
            with pytest.raises(QueryError, match="before 2026-03-11, the ex-date"):
                repos.positions.apply_fill(
                    position_id=rows["before"].id, **fill, ts=begin - microsecond
                )
            repos.positions.apply_fill(position_id=rows["before"].id, **fill, ts=begin)
    assert {_begin(one).hour for one in markets} >= {21, 22, 13, 0, 4}


def test_sydney_and_new_york_after_hours(db: TradingService, clock: ManualClock) -> None:
    clock.advance(86_400)
    # 10:30 in Sydney on the ex-date; 20:30 in New York the day before, both beside UTC's midnight.
    for symbol, moment, changes in (
        ("BHP.AX", datetime(2026, 3, 10, 23, 30, tzinfo=UTC), 0),
        ("AAPL", datetime(2026, 3, 11, 0, 30, tzinfo=UTC), 1),
    ):
        _filled(db, symbol, moment)
        assert len(db.apply_action(symbol, WEDNESDAY, "dividend", amount=1)) == changes, symbol


def test_an_ex_date_counts_as_future_until_the_day_begins_in_its_market(
    db: TradingService, clock: ManualClock
) -> None:
    _filled(db, "BHP.AX", NOW - timedelta(days=2))
    _filled(db, "AAPL", NOW - timedelta(days=2))
    # It is 02:00 of the ex-date in Sydney, and 11:00 of the day before in New York.
    assert len(db.apply_action("BHP.AX", WEDNESDAY, "split", ratio=2)) == 1
    with pytest.raises(QueryError, match="is in the future"):
        db.apply_action("AAPL", WEDNESDAY, "split", ratio=2)
    with pytest.raises(QueryError, match="1899"):
        db.apply_action("BHP.AX", date(1899, 12, 31), "split", ratio=2)


@pytest.mark.parametrize("symbol", ["X1Y2", "BTC"])
def test_an_action_of_a_symbol_that_no_market_has_is_refused(
    db: TradingService, symbol: str
) -> None:
    _filled(db, symbol, NOW - timedelta(days=30))
    with pytest.raises(QueryError, match=symbol):
        db.apply_action(symbol, date(2026, 3, 1), "split", ratio=2)


@pytest.mark.parametrize("seed", range(4))
def test_fills_and_actions_out_of_order_are_refused_or_applied_exactly(
    database: Database, clock: ManualClock, seed: int
) -> None:
    """Fills, splits and dividends in any order: each is refused, or counts as in its own order."""
    chance = random.Random(seed)
    clock.advance(40 * 86_400)
    service = DatabaseService(database, clock)
    events: list[tuple[datetime, str, Fraction, Fraction]] = [
        (NOW + timedelta(days=day), chance.choice(["buy", "sell"]), Fraction(3), Fraction(50 + day))
        for day in range(0, 30, 2)
    ]
    events += [
        (_day(day), kind, by, Fraction(0))
        for day, kind, by in (
            (5, "split", Fraction(2)), (9, "dividend", Fraction(1, 4)),
            (9, "dividend", Fraction(5, 4)), (13, "split", Fraction(1, 2)),
        )
    ]  # fmt: skip
    events.sort(key=lambda one: one[0])
    for _ in range(6):
        n = chance.randrange(len(events) - 1)
        events[n], events[n + 1] = events[n + 1], events[n]
    with service.uow() as repos:
        row = repos.positions.ensure_open(
            bot_id=1, trade_type="live", symbol="AAPL", direction="long", opened_at=NOW
        )
        repos.positions.apply_fill(position_id=row.id, action="buy", qty=100, price=40, ts=NOW)
    taken, refused = [(NOW, "buy", Fraction(100), Fraction(40))], 0
    for event in events:
        moment, kind, by, price = event
        try:
            with service.uow() as repos:
                if kind in ("split", "dividend"):
                    day = moment.date()
                    own = {"ratio": by} if kind == "split" else {"amount": str(float(by))}
                    assert repos.positions.apply_action("AAPL", day, kind, **own)
                else:
                    repos.positions.apply_fill(
                        position_id=row.id, action=kind, qty=int(by), price=int(price), ts=moment
                    )
            taken.append(event)
        except QueryError:
            refused += 1
    with service.uow() as repos:
        (stored,) = repos.positions.open_positions()
        quantity, cost, realized = _replayed(sorted(taken, key=lambda one: one[0]))
        assert Fraction(stored.qty_open) == quantity
        assert stored.avg_price == _nearest(cost / quantity)
        assert stored.realized_pnl == _nearest(realized)
    assert 0 < refused < len(events)


def _day(days: int) -> datetime:
    return datetime(2026, 3, 10, 4, tzinfo=UTC) + timedelta(days=days)


def _replayed(
    events: list[tuple[datetime, str, Fraction, Fraction]],
) -> tuple[Fraction, Fraction, Fraction]:
    """Return quantity, cost and profit of a long position whose events are in order."""
    reference = Reference(1)
    for _, kind, by, price in events:
        if kind == "split":
            reference.quantity *= by
        elif kind == "dividend":
            reference.cost -= reference.quantity * by
        else:
            reference.fill(kind == "buy", by, price)
    return reference.quantity, reference.cost, reference.realized


def test_a_fill_before_the_last_one_is_refused(db: TradingService, clock: ManualClock) -> None:
    number = _open(db, opened_at=NOW - timedelta(days=2))
    db.apply_fill(number, action="buy", qty=2, price=100, ts=NOW - timedelta(hours=2))
    before = db.apply_fill(number, action="sell", qty=1, price=130, ts=NOW - timedelta(hours=1))
    late = {"action": "buy", "qty": 1, "price": 70}
    with pytest.raises(QueryError, match="earlier than the last fill"):
        db.apply_fill(number, **late, ts=NOW - timedelta(hours=1, microseconds=1))  # type: ignore[arg-type]
    assert db.get_open_positions() == [before]
    db.apply_fill(number, **late, ts=NOW - timedelta(hours=1))  # type: ignore[arg-type]
    row = db.apply_fill(number, **late)  # type: ignore[arg-type]
    assert (row["qty_open"], row["filled_at"]) == (3, NOW)


def test_an_action_before_a_split_that_was_applied_is_refused(
    db: TradingService, clock: ManualClock
) -> None:
    _filled(db, "AAPL", NOW - timedelta(days=9))
    db.apply_action("AAPL", date(2026, 3, 6), "dividend", amount=1)
    db.apply_action("AAPL", date(2026, 3, 5), "dividend", amount=2)
    with pytest.raises(QueryError, match="2026-03-06 dividend"):
        db.apply_action("AAPL", date(2026, 3, 4), "split", ratio=2)
    db.apply_action("AAPL", date(2026, 3, 8), "split", ratio=4)
    (before,) = db.get_open_positions()
    assert (before["qty_open"], Fraction(before["avg_price"])) == (40, Fraction(97, 4))
    for kind in ({"amount": 1}, {"ratio": 2}):
        name = "split" if "ratio" in kind else "dividend"
        with pytest.raises(QueryError, match="2026-03-08 split"):
            db.apply_action("AAPL", date(2026, 3, 7), name, **kind)  # type: ignore[arg-type]
    assert db.get_open_positions() == [before]


def test_an_empty_position_has_no_actions(db: TradingService, clock: ManualClock) -> None:
    _open(db, metadata={"stop": "90"})
    clock.advance(86_400)
    before = db.get_open_positions()
    assert db.apply_action("AAPL", WEDNESDAY, "split", ratio=2) == []
    assert db.get_open_positions() == before


def test_an_action_that_one_position_refuses_changes_none(
    database: Database, clock: ManualClock
) -> None:
    clock.advance(86_400)
    service = DatabaseService(database, clock)
    with service.uow() as repos:
        for number in ("1", "2"):
            made = repos.positions.ensure_open(
                bot_id=number, trade_type="live", symbol="AAPL", direction="long",
                opened_at=NOW - timedelta(days=2), metadata={"stop": "50"},
            )  # fmt: skip
            repos.positions.apply_fill(position_id=made.id, action="buy", qty=1, price=9, ts=NOW)
        last = max(repos.positions.open_positions(), key=lambda row: str(row.id))
        last.extra_metadata = {"stop": "1"}
        repos.s.flush()
        with pytest.raises(QueryError, match="would fall"):
            repos.positions.apply_action("AAPL", WEDNESDAY, "dividend", amount=2)
    with service.uow() as repos:
        rows = repos.positions.open_positions()
        assert {row.avg_price for row in rows} == {Decimal(9)}
        assert [row.actions for row in rows] == [{}, {}]


@pytest.mark.parametrize("seed", range(8 if FULL else 4))
def test_a_position_held_before_the_ex_date_gets_the_dividend_even_after_closing(
    database: Database, clock: ManualClock, seed: int
) -> None:
    """Fills at random times around it; long and short; markets whose days begin at other times than UTC's."""
    chance = random.Random(seed)
    symbol, direction = chance.choice(sorted(MARKETS)), chance.choice(["long", "short"])
    adds, reduces = ("buy", "sell") if direction == "long" else ("sell", "buy")
    sign, begin = (1 if direction == "long" else -1), _begin(symbol)
    moments = sorted(begin + timedelta(hours=chance.uniform(-60, 60)) for _ in range(9))
    moments = [moments[0], *moments, begin - timedelta(microseconds=1), begin]
    clock.advance(7 * 86_400)
    quantity = held = cash = Fraction(0)
    with DatabaseService(database, clock).uow() as repos:
        own = {"bot_id": "b", "trade_type": "paper", "symbol": symbol, "direction": direction}
        row = repos.positions.ensure_open(**own, opened_at=min(moments))  # type: ignore[arg-type]
        for n, moment in enumerate(sorted(moments)):
            is_last = n == len(moments) - 1
            is_adding = not is_last and (quantity < 2 or chance.random() < 0.5)
            step = quantity if is_last else Fraction(chance.randint(1, 30), 10)
            step = step if is_adding else min(step, quantity)
            price = Fraction(chance.randint(5_000, 15_000), 100)
            row = repos.positions.apply_fill(
                position_id=row.id, action=adds if is_adding else reduces, qty=_text(step),
                price=_text(price), ts=moment, close_when_flat=is_last and seed % 2 == 0,
            )  # fmt: skip
            quantity += step if is_adding else -step
            cash -= sign * step * price * (1 if is_adding else -1)
            held = quantity if moment < begin else held
        assert not row.qty_open and Fraction(row.realized_pnl) == cash and held
        for amount in ("0.37", "0.37", "1.1"):
            changed = repos.positions.apply_action(symbol, WEDNESDAY, "dividend", amount=amount)
        (change,) = changed
        assert Fraction(row.realized_pnl) == cash + sign * held * (
            Fraction("0.37") + Fraction("1.1")
        )
        assert change["after"] == {"realized_pnl": row.realized_pnl}
        assert repos.positions.apply_action(symbol, WEDNESDAY, "dividend", amount="0.37") == []


def _text(value: Fraction) -> str:
    return str(Decimal(value.numerator) / Decimal(value.denominator))


def test_a_position_not_held_over_the_start_of_an_ex_date_gets_no_dividend(
    db: TradingService, clock: ManualClock
) -> None:
    begin, second = _begin("AAPL"), timedelta(seconds=1)
    clock.advance(3 * 86_400)
    fill: dict[str, Any] = {"qty": 10, "price": 100}
    figures = {}
    for name, opened, closed in (
        ("before", begin - timedelta(days=1), begin - second),
        ("over", begin - timedelta(days=1), begin),
        ("again", begin, begin + second),
        ("open", begin - second, None),
    ):
        number = _open(db, opened_at=opened)
        db.apply_fill(number, action="buy", **fill, ts=opened)
        if closed:
            db.apply_fill(number, action="sell", **fill, ts=closed)
        figures[name] = number
    changed = db.apply_action("AAPL", WEDNESDAY, "dividend", amount="0.5")
    assert {one["position_id"] for one in changed} == {figures["over"], figures["open"]}
    (credited,) = [one for one in changed if one["position_id"] == figures["over"]]
    assert credited["text"].endswith("dividend by 0.5 a share: realized_pnl 0 to 5")
    assert db.apply_action("AAPL", WEDNESDAY, "split", ratio=2)[0]["position_id"] == figures["open"]


def test_a_position_marked_closed_gets_no_dividend(db: TradingService, clock: ManualClock) -> None:
    number = _filled(db, "AAPL", NOW - timedelta(days=9))
    clock.advance(86_400)
    db.mark_closed(number)
    assert db.apply_action("AAPL", WEDNESDAY, "dividend", amount=1) == []


def test_a_fill_dated_by_a_wrong_clock_does_not_change_the_dividend(
    db: TradingService, clock: ManualClock
) -> None:
    number = _filled(db, "AAPL", NOW - timedelta(days=9))
    clock.advance(366 * 86_400)
    db.apply_fill(number, action="sell", qty=4, price=100)
    clock.advance(-365 * 86_400)
    db.apply_fill(number, action="sell", qty=1, price=100)
    clock.advance(86_400)
    db.apply_fill(number, action="sell", qty=5, price=100)
    (change,) = db.apply_action("AAPL", WEDNESDAY + timedelta(days=1), "dividend", amount=1)
    assert change["after"]["realized_pnl"] - change["before"]["realized_pnl"] == 5


@pytest.mark.parametrize("seed", range(12))
def test_late_dividends_count_as_in_their_order(
    database: Database, clock: ManualClock, seed: int
) -> None:
    """Each is applied some fills after its ex-date; splits in order; long and short, any market, fees."""
    chance = random.Random(seed)
    symbol, direction = chance.choice(sorted(MARKETS)), ("long", "short")[seed % 2]
    adds, reduces = ("buy", "sell") if direction == "long" else ("sell", "buy")
    days = [date(2026, 3, 2) + timedelta(days=n) for n in range(9)]
    begins = [datetime.combine(d, datetime.min.time(), ZoneInfo(MARKETS[symbol])) for d in days]
    events: list[tuple[datetime, str, Any]] = []
    for day, begin in zip(days, begins, strict=True):
        if day > days[0] and chance.random() < 0.6:
            events += [
                (begin, "dividend", (day, a)) for a in chance.sample(["0.3", "1.17", "2"], 2)
            ]
        elif day > days[0] and chance.random() < 0.3:
            events.append((begin, "split", (day, chance.choice([Fraction(2), Fraction(1, 4)]))))
        hours = sorted(chance.uniform(0, 23) for _ in range(chance.randint(0, 4)))
        events += [(begin + timedelta(hours=hour), "fill", None) for hour in hours]
    events = [(begins[0], "fill", None), *events, (begins[-1] + timedelta(hours=23), "fill", None)]
    clock.advance(9 * 86_400)
    reference, late = Reference(1 if direction == "long" else -1), list[tuple[date, str]]()
    fees, n_late = Fraction(0), 0
    with DatabaseService(database, clock).uow() as repos:
        own: Any = {"bot_id": "b", "trade_type": "paper", "symbol": symbol, "direction": direction}
        row = repos.positions.ensure_open(**own, opened_at=begins[0] - timedelta(days=1))

        def apply_late() -> None:
            chance.shuffle(late)
            for ex_date, amount in late:
                repos.positions.apply_action(symbol, ex_date, "dividend", amount=amount)
            late.clear()

        for moment, kind, what in events:
            if kind == "dividend":
                reference.cost -= reference.quantity * Fraction(what[1])
                late.append(what)
                continue
            if kind == "split":
                apply_late()
                repos.positions.apply_action(symbol, what[0], "split", ratio=what[1])
                reference.quantity *= what[1]
                continue
            n_late += len(late)
            is_adding = reference.quantity < 4 or chance.random() < 0.5
            quantity = Fraction(chance.randint(1, 64), 8)
            if not is_adding:
                quantity = chance.choice([min(quantity, reference.quantity), reference.quantity])
            price, fee = (
                Fraction(chance.randint(5_000, 9_000), 100),
                Fraction(chance.randint(0, 9), 8),
            )
            repos.positions.apply_fill(
                position_id=row.id, action=adds if is_adding else reduces, qty=_text(quantity),
                price=_text(price), ts=moment, close_when_flat=False, commission=_text(fee),
            )  # fmt: skip
            reference.fill(is_adding, quantity, price)
            fees += fee
            if chance.random() < 0.05:
                apply_late()
        apply_late()
        assert n_late
        assert Fraction(row.qty_open) == reference.quantity
        assert row.realized_pnl == _nearest(reference.realized - fees)
        if reference.quantity:
            assert row.avg_price == _nearest(reference.cost / reference.quantity)
        row = repos.positions.apply_fill(position_id=row.id, action=adds, qty=1, price=50)
        reference.fill(True, Fraction(1), Fraction(50))
        whole, price = reference.quantity, Fraction(77)
        repos.positions.apply_fill(
            position_id=row.id, action=reduces, qty=_text(whole), price=_text(price)
        )
        reference.fill(False, whole, price)
        assert (row.status, row.realized_pnl) == ("closed", _nearest(reference.realized - fees))


def test_a_late_dividend_moves_price_levels_and_reports_its_profit(
    db: TradingService, clock: ManualClock
) -> None:
    number = _open(db, opened_at=NOW - timedelta(days=9), metadata={"stop": "90"})
    db.apply_fill(number, action="buy", qty=10, price=100, ts=NOW - timedelta(days=9))
    clock.advance(86_400)
    db.apply_fill(number, action="sell", qty=4, price=110)
    clock.advance(86_400)
    db.apply_fill(number, action="buy", qty=6, price=98)
    with pytest.raises(QueryError, match="had a fill since"):
        db.apply_action("AAPL", WEDNESDAY, "split", ratio=2)
    (change,) = db.apply_action("AAPL", WEDNESDAY, "dividend", amount="0.5")
    assert change["text"].endswith(
        "qty_open 12 to 12, avg_price 99 to 98.75, realized_pnl 40 to 42, stop 90 to 89.5"
    )
    assert db.apply_action("AAPL", WEDNESDAY, "dividend", amount="0.5") == []
    db.apply_fill(number, action="sell", qty=6, price=98)
    db.apply_fill(number, action="sell", qty=6, price=98)
    (change,) = db.apply_action("AAPL", WEDNESDAY, "dividend", amount="100")
    assert [*change["after"]] == ["realized_pnl"], "levels of what is closed stay"


def test_the_shares_left_by_fills_of_several_days_get_the_dividend(
    db: TradingService, clock: ManualClock
) -> None:
    number = _filled(db, "AAPL", NOW - timedelta(days=9))
    for _ in range(3):  # 8, 6.4 and 5.12 of 10 are left, and as much is bought again
        clock.advance(86_400)
        sold = db.apply_fill(number, action="sell", qty="2", price=100)["qty_open"]
        db.apply_fill(number, action="buy", qty=10 - sold, price=100)
    (change,) = db.apply_action("AAPL", WEDNESDAY, "dividend", amount=1)
    assert change["after"]["avg_price"] == 100 - Decimal("0.512")
    assert change["after"]["realized_pnl"] == Decimal("4.88")


def test_a_position_that_was_empty_when_the_day_began_has_no_dividend(
    db: TradingService, clock: ManualClock
) -> None:
    number = _open(db, opened_at=NOW - timedelta(days=9), metadata={"stop": "90"})
    for action in ("buy", "sell"):
        db.apply_fill(number, action=action, qty=1, price=9, close_when_flat=False)
    clock.advance(86_400)
    before = db.apply_fill(number, action="buy", qty=10, price=100)
    assert db.apply_action("AAPL", WEDNESDAY, "dividend", amount=1) == []
    assert db.get_open_positions() == [before]


@pytest.mark.parametrize("left", [4, 0])
def test_a_fill_by_a_clock_that_was_ahead_has_no_day(
    db: TradingService, clock: ManualClock, left: int
) -> None:
    """It reduced the position before the ex-date: the dividend must not count on what was sold."""
    number = _filled(db, "AAPL", NOW - timedelta(days=9))
    clock.advance(366 * 86_400)
    before = db.apply_fill(number, action="sell", qty=10 - left, price=100)
    clock.advance(-365 * 86_400)
    if not left:
        assert db.apply_action("AAPL", WEDNESDAY, "dividend", amount=1) == []
        return
    with pytest.raises(QueryError, match="had a fill since"):
        db.apply_action("AAPL", WEDNESDAY, "dividend", amount=1)
    assert db.get_open_positions() == [before]
    db.apply_fill(number, action="sell", qty=1, price=100)
    with pytest.raises(QueryError, match="had a fill since"):
        db.apply_action("AAPL", date(2026, 3, 5), "dividend", amount=1)
    clock.advance(86_400)
    db.apply_fill(number, action="sell", qty=1, price=100)
    (change,) = db.apply_action("AAPL", WEDNESDAY + timedelta(days=1), "dividend", amount=1)
    assert change["after"]["realized_pnl"] == 1


def test_a_position_is_as_old_as_its_first_fill(db: TradingService, clock: ManualClock) -> None:
    number = _open(db)
    fill = NOW - timedelta(days=3)
    row = db.apply_fill(number, action="buy", qty=10, price=100, ts=fill)
    assert row["opened_at"] == fill
    assert len(db.apply_action("AAPL", date(2026, 3, 9), "dividend", amount=1)) == 1


@pytest.mark.parametrize("ahead", [60, 86_400, 366 * 86_400])
def test_a_clock_that_was_ahead_for_one_fill_is_no_order(
    db: TradingService, clock: ManualClock, ahead: int
) -> None:
    number = _open(db, opened_at=NOW - timedelta(days=30))
    clock.advance(ahead)
    db.apply_fill(number, action="buy", qty=1, price=100)
    clock.advance(10 - ahead)
    row = db.apply_fill(number, action="buy", qty=1, price=110, ts=NOW)
    assert (row["qty_open"], row["filled_at"]) == (2, NOW)
    clock.advance(86_400)
    assert len(db.apply_action("AAPL", WEDNESDAY, "split", ratio=2)) == 1


def test_a_position_that_was_opened_ahead_of_the_clock_is_not_passed_over(
    db: TradingService, clock: ManualClock
) -> None:
    clock.advance(366 * 86_400)
    number = _open(db)
    db.apply_fill(number, action="buy", qty=1, price=110)
    clock.advance(-365 * 86_400)
    with pytest.raises(QueryError, match=", which is in the future"):
        db.apply_action("AAPL", WEDNESDAY, "split", ratio=2)


@pytest.mark.parametrize("direction", ["long", "short"])
def test_realized_profit_includes_commission(db: TradingService, direction: str) -> None:
    number = _open(db, direction)
    verbs = ("buy", "sell") if direction == "long" else ("sell", "buy")
    fees = ("0.35", 0.1, -0.05)
    db.apply_fill(number, action=verbs[0], qty=3, price="10.01", commission=fees[0])
    row = db.apply_fill(number, action=verbs[1], qty=1, price="12.5", commission=fees[1])
    sign = 1 if direction == "long" else -1
    earned = sign * (Fraction("12.5") - Fraction("10.01")) - Fraction("0.45")
    assert Fraction(row["realized_pnl"]) == earned
    assert Fraction(row["avg_price"]) == Fraction("10.01")
    row = db.apply_fill(number, action=verbs[1], qty=2, price="9", commission=fees[2])
    earned += sign * 2 * (9 - Fraction("10.01")) + Fraction("0.05")
    assert Fraction(row["realized_pnl"]) == earned
    other = _open(db, direction)
    with pytest.raises(QueryError, match="commission"):
        db.apply_fill(other, action=verbs[0], qty=1, price=1, commission="x")


def test_the_net_profit_of_a_trade_is_without_its_commission(db: TradingService) -> None:
    base = {"bot_id": "b", "trade_type": "paper", "symbol": "AAPL"}

    def close(**fields: Any) -> Any:
        number = db.add_trade({**base, **fields.pop("own", {})})["id"]
        assert db.close_trade(number, **fields) is True
        return number

    close(gross_pnl="12.5", commission="0.75")
    close(gross_pnl=1, commission=2, net_pnl=7)
    close(own={"commission": "0.25"}, gross_pnl=-3)
    close(gross_pnl=5)
    number = close(own={"gross_pnl": 10, "net_pnl": 10}, commission=1)
    assert db.get_pnl_summary() == {"net_pnl": Decimal("29.5"), "n_trades": 5}
    db.close_trade(number, exit_reason="late")
    assert db.get_pnl_summary()["net_pnl"] == Decimal("29.5")
    made = db.add_trade({**base, "gross_pnl": 4, "commission": 1, "status": "closed"})
    assert made["net_pnl"] == 3


# --- bots, trades, metrics -----------------------------------------------------------------------


def test_bots_are_kept_by_their_key(db: TradingService, clock: ManualClock) -> None:
    made = db.upsert_bot(
        {"id": "7", "config": {"symbol": "AAPL", "timeframe": "1h"}, "status": "running"}
    )
    assert (made["id"], made["status"], made["created_at"]) == (7, "running", NOW)
    assert db.get_bot_by_id(7) == db.get_bot_by_id("7") == made
    clock.advance(60)
    db.heartbeat(7)
    changed = db.upsert_bot({"id": 7, "description": "<b>'; --"})
    assert (changed["config"], changed["description"]) == (made["config"], "<b>'; --")
    assert changed["last_heartbeat"] == NOW + timedelta(minutes=1)
    named = db.upsert_bot({"config": {}})
    assert is_random(named["id"])
    assert db.upsert_bot({"id": "007"})["id"] == "007"
    assert db.get_bot_by_id("nothing") is None
    assert db.get_bot_by_id(True) is None
    assert len(db.get_enabled_bots()) == 3
    for wrong in (
        {"id": "x", "colour": 1},
        {"id": -1},
        {"id": "x", "config": []},
        {"id": "x" * 256},
    ):
        with pytest.raises(QueryError):
            db.upsert_bot(wrong)
    assert len(db.get_enabled_bots()) == 3


def test_a_question_inside_a_unit_of_work_sees_the_bot_that_the_unit_changed(
    database: Database, clock: ManualClock
) -> None:
    service = DatabaseService(database, clock)
    with service.uow() as repos:
        repos.bots.upsert_bot({"id": "b", "config": {}, "status": "running"})
        assert len(TradingService(service).get_bots_by_status("running")) == 1


def test_zero_is_a_key_like_any_other(db: TradingService) -> None:
    for text in ("first", "second"):
        assert db.upsert_bot({"id": 0, "config": {}, "description": text})["id"] == 0
    (bot,) = db.get_enabled_bots()
    assert bot["description"] == "second"
    trade = {"id": 0, "bot_id": 0, "symbol": "AAPL", "trade_type": "paper"}
    assert db.add_trade(trade)["id"] == 0 and db.close_trade(0)
    with pytest.raises(QueryError, match="already exists"):
        db.add_trade(trade)
    with pytest.raises(QueryError, match="invalid record key ''"):
        db.upsert_bot({"id": "", "config": {}})


def test_status_errors_and_performance_of_a_bot(db: TradingService) -> None:
    db.upsert_bot({"id": "b", "config": {}})
    assert db.update_bot_status("b", "running") is True
    assert db.update_bot_status("b", "error", error_message="no data") is True
    assert db.update_bot_status("b", "error", error_message="no data") is True
    assert db.update_bot_performance("b", current_balance=1000.1, total_pnl="-0.1") is True
    (bot,) = db.get_bots_by_status("error")
    assert (bot["error_count"], bot["started_at"]) == (2, NOW)
    assert bot["extra_metadata"]["last_error"] == "no data"
    assert (bot["current_balance"], bot["total_pnl"]) == (Decimal("1000.1"), Decimal("-0.1"))
    assert db.update_bot_status("c", "running") is False
    assert db.update_bot_status("b", "s" * 21) is False
    assert db.update_bot_performance("b", current_balance=float("nan")) is False
    assert db.get_bots_by_status("error", user_id=5) == []


def test_bot_configurations_without_symbol_or_timeframe_are_invalid(db: TradingService) -> None:
    db.upsert_bot({"id": "good", "config": {"symbol": "AAPL", "timeframe": "1h", "own": 1}})
    db.upsert_bot({"id": "bad", "config": {"symbol": "", "timeframe": "1y2"}})
    assert db.validate_bot_configuration("good") == (True, [], [])
    assert db.validate_bot_configuration("none")[0] is False
    validated = db.validate_all_bot_configurations()
    assert (validated["bad"][0], len(validated["bad"][1])) == (False, 2)
    assert "symbol" in trading_service.get_bot_configuration_schema()["required"]


def test_trades_are_kept_and_summed_exactly(db: TradingService) -> None:
    base = {"bot_id": "b", "trade_type": "paper", "symbol": "AAPL", "entry_price": 100.1}
    first, second = db.add_trade(base), db.add_trade({**base, "symbol": "MSFT"})
    assert is_random(first["id"]) and is_random(second["id"])
    assert (first["entry_price"], first["status"]) == (Decimal("100.1"), "open")
    assert [one["id"] for one in db.get_open_trades("MSFT")] == [second["id"]]
    assert db.close_trade(first["id"], net_pnl="123456789012.12345678", exit_price=1) is True
    assert db.close_trade(second["id"], net_pnl=Decimal("0.00000001")) is True
    assert db.close_trade("x", net_pnl=1) is False
    assert db.close_trade(first["id"], net_pnnl=1) is False
    summary = db.get_pnl_summary("b")
    assert summary == {"net_pnl": Decimal("123456789012.12345679"), "n_trades": 2}
    assert db.get_pnl_summary("c") == {"net_pnl": 0, "n_trades": 0}
    assert db.get_open_trades() == []
    for wrong in (
        {**base, "id": first["id"]},
        {**base, "symbol": None},
        {**base, "symbol": "S" * 21},
    ):
        with pytest.raises(QueryError):
            db.add_trade(wrong)


def test_bot_metrics_are_stored_and_nan_is_refused(db: TradingService) -> None:
    db.add_metric({"bot_id": "b", "metrics": {"sharpe": 1.5}, "calculated_at": NOW - timedelta(1)})
    db.add_metric({"bot_id": "b", "metrics": {"sharpe": 2, "by": [1, {"a": None}]}})
    latest = db.latest_metrics("b", 1)
    assert [one["metrics"] for one in latest] == [{"sharpe": 2, "by": [1, {"a": None}]}]
    assert all(is_random(one["id"]) for one in db.latest_metrics("b", 2))
    with pytest.raises(DatabaseError):
        db.add_metric({"bot_id": "b", "metrics": {"sharpe": float("nan")}})
    with pytest.raises(QueryError):
        db.add_metric({"bot_id": "b"})


def test_each_filter_of_trades_positions_and_metrics_decides(db: TradingService) -> None:
    for bot, symbol in (("a", "AAPL"), ("a", "MSFT"), ("b", "AAPL")):
        own: dict[str, Any] = {"bot_id": bot, "trade_type": "paper", "symbol": symbol}
        db.ensure_open_position(**own, direction="long")
        db.add_trade({**own, "net_pnl": 100})
        number = db.add_trade(own)["id"]
        db.close_trade(number, net_pnl={"a": 1, "b": 10}[bot])
        db.add_metric({"bot_id": bot, "metrics": {"of": f"{bot} {symbol}"}})

    def of(rows: list[dict[str, Any]]) -> list[str]:
        return sorted(f"{one['bot_id']} {one['symbol']}" for one in rows)

    every = ["a AAPL", "a MSFT", "b AAPL"]
    assert of(db.get_open_trades()) == of(db.get_open_positions()) == every
    assert of(db.get_open_trades("AAPL")) == of(db.get_open_positions(symbol="AAPL")) == every[::2]
    assert of(db.get_open_positions(bot_id="a")) == every[:2]
    assert of(db.get_open_positions(bot_id="a", symbol="AAPL")) == every[:1]
    summaries = [db.get_pnl_summary(), db.get_pnl_summary("a"), db.get_pnl_summary("b")]
    assert [(one["net_pnl"], one["n_trades"]) for one in summaries] == [(12, 3), (2, 2), (10, 1)]
    found = [sorted(one["metrics"]["of"] for one in db.latest_metrics(bot)) for bot in "ab"]
    assert found == [every[:2], every[2:]]
    assert len(db.latest_metrics("a", 1)) == 1


def test_naive_times_of_fills_are_utc(db: TradingService) -> None:
    naive = datetime(2026, 1, 1, 12)
    number = _open(db, opened_at=naive)
    row = db.apply_fill(number, action="buy", qty=1, price=1, ts=naive)
    assert row["opened_at"] == naive.replace(tzinfo=UTC)
    row = db.apply_fill(number, action="sell", qty=1, price=1, ts=NOW)
    assert row["closed_at"] == NOW


def test_module_and_instance_have_the_same_functions() -> None:
    instance = trading_service.trading_service
    names = {name for name in vars(TradingService) if not name.startswith("_")} - {"part"}
    for name in names - {"get_bot_configuration_schema"}:
        assert getattr(trading_service, name) == getattr(instance, name)
        own = inspect.signature(getattr(TradeRepository, name))
        assert inspect.signature(getattr(TradingService, name)) == own


def test_the_documented_repository_is_one_unit(database: Database) -> None:
    service = DatabaseService(database)
    with service.get_trading_repo() as repo:
        repo.upsert_bot({"id": 1, "config": {}})
        assert repo.get_bot_by_id("1") is not None
    assert TradingService(service).get_bot_by_id(1) is not None
