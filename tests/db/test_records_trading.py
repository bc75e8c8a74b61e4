"""Records of bots, trades and positions, on both engines; arithmetic is checked by exact fractions."""

from __future__ import annotations

import inspect
import random
from datetime import UTC, datetime, timedelta
from decimal import Decimal
from fractions import Fraction
from typing import Any
from uuid import UUID

import pytest
from sqlalchemy import select
from sqlalchemy.exc import IntegrityError

from src.data.core.clock import ManualClock
from src.data.db.core.database import Database
from src.data.db.models import Position
from src.data.db.repos.repo_telegram import SettingsRepo
from src.data.db.repos.repo_trading import BotsRepo, PositionsRepo, TradeRepository, TradesRepo
from src.data.db.services import trading_service
from src.data.db.services.database_service import DatabaseService
from src.data.db.services.trading_service import TradingService
from src.data.errors import DatabaseError, QueryError

NOW = datetime(2026, 3, 10, 15, 0, tzinfo=UTC)
FRAMED = (
    "users", "telegram_verification", "jobs", "alerts", "schedules", "telegram_settings", "telegram_feedback",
    "telegram_audit", "bots", "trades", "positions", "metrics", "trading", "telegram",
)  # fmt: skip


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
                cash=Decimal(0), status="open",
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


def test_frames_have_the_columns_of_the_models_and_times_in_utc(
    database: Database, db: TradingService, clock: ManualClock
) -> None:
    db.upsert_bot({"id": "bot1", "config": {"symbol": "AAPL", "timeframe": "1h"}})
    number = _open(db)
    db.apply_fill(number, action="buy", qty="0.1", price="100.5")
    trade = {"bot_id": "bot1", "symbol": "AAPL", "trade_type": "paper", "net_pnl": "1.50"}
    db.add_trade(trade)
    with DatabaseService(database, clock).uow() as repos:
        parts = [getattr(repos, name) for name in FRAMED]
        frames = {type(part): part.to_frame() for part in parts}
        for part in parts:
            names = [name for name in part.model.__mapper__.column_attrs.keys() if name[0] != "_"]
            assert list(frames[type(part)].columns) == names
    positions, trades = frames[PositionsRepo], frames[TradesRepo]
    assert positions.loc[0, "qty_open"] == Decimal("0.1")
    assert str(positions["opened_at"].dt.tz) == str(positions["closed_at"].dt.tz) == "UTC"
    assert (positions.loc[0, "opened_at"], positions["closed_at"].isna().all()) == (NOW, True)
    assert (trades.loc[0, "net_pnl"], trades.loc[0, "bot_id"]) == (Decimal("1.5"), "bot1")
    assert frames[BotsRepo].loc[0, "config"] == {"symbol": "AAPL", "timeframe": "1h"}
    assert frames[TradeRepository].equals(trades)
    assert frames[SettingsRepo].empty
