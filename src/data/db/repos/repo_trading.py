"""Bots, trades, positions and performance metrics.

Money and quantities are accepted as ``Decimal``, integer, text or float (with the digits of its
``repr``), and returned as ``Decimal``.
"""

from __future__ import annotations

import uuid
from collections.abc import Iterable, Mapping
from datetime import datetime
from decimal import Decimal
from fractions import Fraction
from typing import Any

from sqlalchemy import select

from ...core.model.time.timeframe import Timeframe
from ...errors import BadTimeframeError, QueryError
from ..core.database import locked
from ..core.texts import key
from ..models.model_trading import BotInstance, PerformanceMetric, Position, Trade
from ..position import ACTIONS, DIRECTIONS, PositionState, rounded
from .rows import (
    Repository,
    as_dict,
    as_dict_or_none,
    as_dicts,
    assign,
    claim,
    delegated,
    exact,
    page,
    same,
    where,
)

__all__ = ["BotsRepo", "MetricsRepo", "PositionsRepo", "TradeRepository", "TradesRepo"]

_CONFIGURATION: Mapping[str, Any] = {
    "type": "object",
    "required": ["symbol", "timeframe"],
    "properties": {
        "symbol": {"type": "string", "minLength": 1, "maxLength": 20},
        "timeframe": {"type": "string", "examples": ["15m", "1h", "1d"]},
    },
}


class BotsRepo(Repository):
    """Stores and queries the bots of a trading program."""

    model = BotInstance

    def upsert_bot(self, bot: Mapping[str, Any]) -> BotInstance:
        """Add a bot, or change the columns of an existing one; a new bot needs ``config``.

        Raises:
            QueryError: A column is unknown, or its value is invalid.
        """
        values = dict(bot)
        number = _key_of(values.pop("id", None))
        config = values.get("config", {})
        if not isinstance(config, dict):
            raise QueryError("a bot's config must be a mapping")
        now = self.now()
        claim(
            self.session,
            BotInstance,
            id=number,
            config=config,
            status="stopped",
            error_count=0,
            created_at=now,
            updated_at=now,
        )
        row = self.lock(number)
        assert row is not None
        assign(row, values | {"updated_at": now}, fixed={"id", "created_at"})
        self.session.flush()
        return row

    def lock(self, bot_id: str | int) -> BotInstance | None:
        """Lock a bot until the unit of work ends, and return it; None if it does not exist."""
        same_id = BotInstance.id == key(bot_id)
        return locked(self.session, select(BotInstance).where(same_id)).one_or_none()

    def get(self, bot_id: str | int) -> BotInstance | None:
        """Return a bot, or None if it does not exist."""
        return self.session.get(BotInstance, key(bot_id))

    def enabled(self, user_id: int | None = None) -> list[BotInstance]:
        """Return the bots whose status is not ``disabled``."""
        return self._where(BotInstance.status != "disabled", user_id)

    def by_status(self, status: str, user_id: int | None = None) -> list[BotInstance]:
        """Return the bots that have the given status."""
        return self._where(BotInstance.status == status, user_id)

    def _where(self, condition: Any, user_id: int | None) -> list[BotInstance]:
        table = BotInstance
        query = select(table).where(condition).order_by(table.created_at, table.id)
        return [*self.session.scalars(where(query, (table.user_id, user_id)))]

    def update_status(
        self,
        bot_id: str | int,
        status: str,
        error_message: str | None = None,
        started_at: datetime | None = None,
    ) -> bool:
        """Set a bot's status; return whether the bot exists.

        If an ``error_message`` is given, the bot's error count increases, and the message is stored
        in ``extra_metadata`` as the last error.
        """
        row = self.lock(bot_id)
        if row is None:
            return False
        now = self.now()
        row.status, row.updated_at = status, now
        row.started_at = started_at or (now if status == "running" else row.started_at)
        if error_message is not None:
            row.error_count += 1
            last = {"last_error": error_message, "last_error_time": now.isoformat()}
            row.extra_metadata = (row.extra_metadata or {}) | last
        return True

    def update_performance(
        self, bot_id: str | int, current_balance: Any = None, total_pnl: Any = None
    ) -> bool:
        """Set a bot's balance or total profit, if given; return whether the bot exists."""
        row = self.lock(bot_id)
        if row is None:
            return False
        values = {"current_balance": current_balance, "total_pnl": total_pnl}
        updates = {name: value for name, value in values.items() if value is not None}
        assign(row, updates | {"updated_at": self.now()})
        return True

    def validate(self, bot_id: str | int) -> tuple[bool, list[str], list[str]]:
        """Return whether a bot's ``config`` is valid, and lists of errors and warnings."""
        bot = self.get(bot_id)
        if bot is None:
            return False, [f"Bot with ID {bot_id} not found"], []
        return _validation(bot.config)

    def validate_all(
        self, user_id: int | None = None
    ) -> dict[Any, tuple[bool, list[str], list[str]]]:
        """Validate the ``config`` of every bot that is not disabled; return the results by bot key."""
        return {bot.id: _validation(bot.config) for bot in self.enabled(user_id)}

    def heartbeat(self, bot_id: str | int) -> None:
        """Record that a bot is running now; an unknown bot is ignored."""
        if row := self.lock(bot_id):
            row.last_heartbeat = self.now()


class TradesRepo(Repository):
    """Stores and queries trades, as they were executed."""

    model = Trade

    def add(self, trade: Mapping[str, Any]) -> Trade:
        """Add a trade, passed as a mapping from column to value.

        For the net profit, see :meth:`close_trade`.

        Raises:
            QueryError: A column is unknown or its value invalid; ``bot_id``, ``symbol`` or
                ``trade_type`` is missing; or a trade with this key exists.
        """
        row: Trade = _insert(self, Trade, trade, ("bot_id", "symbol", "trade_type"))
        _net(row, trade)
        self.session.flush()
        return row

    def close_trade(self, /, trade_id: str | int, **fields: Any) -> bool:
        """Close a trade, and set the given columns; return whether it exists.

        If ``status`` and ``exit_time`` are not given, the trade is closed now. If ``gross_pnl`` or
        ``commission`` is given without ``net_pnl``, the net profit is the gross profit minus the
        commission.

        Raises:
            QueryError: A column is unknown, or its value is invalid.
        """
        same_id = Trade.id == key(trade_id)
        row = locked(self.session, select(Trade).where(same_id)).one_or_none()
        if row is None:
            return False
        now = self.now()
        values = {"status": "closed", "exit_time": now} | fields
        assign(row, values | {"updated_at": now}, fixed={"id", "bot_id", "created_at"})
        _net(row, fields)
        self.session.flush()
        return True

    def open_trades(self, symbol: str | None = None) -> list[Trade]:
        """Return the open trades, oldest first."""
        query = select(Trade).where(Trade.status == "open").order_by(Trade.created_at, Trade.id)
        return [*self.session.scalars(where(query, (Trade.symbol, symbol)))]

    def pnl_summary(self, bot_id: str | int | None = None) -> dict[str, Any]:
        """Return the total ``net_pnl`` and the number (``n_trades``) of the closed trades."""
        number = None if bot_id is None else key(bot_id)
        query = select(Trade.net_pnl).where(Trade.status == "closed")
        query = where(query, (Trade.bot_id, number))
        # Not in SQL, because SQLite would sum the strings as floats.
        values = self.session.scalars(query).all()
        total = sum((Fraction(value) for value in values if value is not None), Fraction(0))
        return {"net_pnl": rounded(total), "n_trades": len(values)}


class PositionsRepo(Repository):
    """Stores and changes positions, with exact quantities and prices.

    Splits and dividends do not change a stored position.
    """

    model = Position

    def ensure_open(
        self,
        *,
        bot_id: str | int,
        trade_type: str,
        symbol: str,
        direction: str,
        opened_at: datetime | None = None,
        metadata: Mapping[str, Any] | None = None,
    ) -> Position:
        """Return the open position for a bot, trade type and symbol, created if missing.

        Raises:
            QueryError: The direction is not ``long`` or ``short``, or an open position exists in
                the other direction.
        """
        if direction not in DIRECTIONS:
            raise QueryError(f"unknown direction {direction!r:.80}; use {' or '.join(DIRECTIONS)}")
        same_position = {"bot_id": key(bot_id), "trade_type": trade_type, "symbol": symbol}
        claim(
            self.session,
            Position,
            id=str(uuid.uuid4()),
            **same_position,
            direction=direction,
            opened_at=opened_at or self.now(),
            qty_open=Decimal(0),
            realized_pnl=Decimal(0),
            cash=Decimal(0),
            status="open",
            extra_metadata=None if metadata is None else dict(metadata),
        )
        query = select(Position).filter_by(**same_position, status="open")
        row = locked(self.session, query).one()
        if row.direction != direction:
            raise QueryError(
                f"{symbol} already has an open {row.direction} position",
                hint="close that position first",
            )
        return row

    def open_positions(
        self, *, bot_id: str | int | None = None, symbol: str | None = None
    ) -> list[Position]:
        """Return the open positions, oldest first."""
        query = select(Position).where(Position.status == "open")
        number = None if bot_id is None else key(bot_id)
        query = where(query, (Position.bot_id, number), (Position.symbol, symbol))
        return [*self.session.scalars(query.order_by(Position.opened_at, Position.id))]

    def apply_fill(
        self,
        position_id: str | int,
        *,
        action: str,
        qty: Any,
        price: Any,
        ts: datetime | None = None,
        close_when_flat: bool = True,
        commission: Any = 0,
    ) -> Position:
        """Increase or reduce a position by a fill (an executed order).

        A position that reaches 0 is closed, unless ``close_when_flat`` is False. Nothing else
        changes a position: at a split it stays as its fills; apply the split by two fills.

        Args:
            position_id: Key of an open position.
            action: ``buy`` or ``sell``.
            qty: Number of shares or coins.
            price: Price per share or coin.
            ts: Time of execution; by default the current time.
            close_when_flat: Whether to close a position that reaches 0.
            commission: Cost in the currency of the price; negative for a rebate. It lowers the
                realized profit immediately; the mean price does not include it.

        Raises:
            QueryError: There is no such open position, a number is invalid or not above 0, the
                action is not ``buy`` or ``sell``, or the fill would reduce the position by more
                than its open quantity.
        """
        verb = action.lower() if isinstance(action, str) else action
        if verb not in ACTIONS:
            raise QueryError(f"unknown action {action!r:.80}; use {' or '.join(ACTIONS)}")
        quantity = exact(qty, "quantity", is_above_0=True)
        paid = exact(price, "price", is_above_0=True)
        cost = exact(commission, "commission")
        row = self._locked(position_id)
        if row.status != "open":
            raise QueryError(f"cannot fill position {position_id}: its status is {row.status}")
        moment = ts or self.now()
        _store(row, _state(row).filled(verb, quantity, paid, cost))
        if row.qty_open == 0 and close_when_flat:
            row.status, row.closed_at = "closed", moment
        self.session.flush()
        return row

    def close_if_flat(self, position_id: str | int, ts: datetime | None = None) -> Position:
        """Close a position if its open quantity is 0; otherwise leave it unchanged."""
        row = self._locked(position_id)
        if row.qty_open == 0 and row.status != "closed":
            row.status, row.closed_at = "closed", ts or self.now()
        self.session.flush()
        return row

    def mark_closed(self, position_id: str | int, ts: datetime | None = None) -> Position:
        """Close a position without a fill, discarding the open quantity and keeping the realized profit."""
        row = self._locked(position_id)
        if row.status != "closed":
            state = _state(row)
            _store(row, PositionState(state.direction, cash=rounded(state.realized)))
            row.status, row.closed_at = "closed", ts or self.now()
        self.session.flush()
        return row

    @staticmethod
    def unrealized_pnl(p: Position, *, mark_price: Any) -> Decimal:
        """Return the unrealized profit at a price, rounded to 18 decimal places."""
        return rounded(_unrealized_gain(_state(p), mark_price))

    @staticmethod
    def total_pnl(p: Position, *, mark_price: Any = None) -> Decimal:
        """Return the realized profit plus, if ``mark_price`` is given, the unrealized profit."""
        state = _state(p)
        open_ = Fraction(0) if mark_price is None else _unrealized_gain(state, mark_price)
        return rounded(state.realized + open_)

    def _locked(self, position_id: str | int) -> Position:
        same_id = Position.id == key(position_id)
        row = locked(self.session, select(Position).where(same_id)).one_or_none()
        if row is None:
            raise QueryError(f"the position does not exist: {position_id!r:.80}")
        return row


class MetricsRepo(Repository):
    """Stores and queries the performance metrics of bots."""

    model = PerformanceMetric

    def add(self, metric: Mapping[str, Any]) -> PerformanceMetric:
        """Add a bot's metrics, passed as a mapping from column to value.

        ``bot_id`` and ``metrics`` are required.

        Raises:
            QueryError: A column is unknown or missing, or its value is invalid.
        """
        values = {"calculated_at": self.now(), **metric}
        row: PerformanceMetric = _insert(self, PerformanceMetric, values, ("bot_id", "metrics"))
        return row

    def latest_for_bot(self, bot_id: str | int, limit: int = 20) -> list[PerformanceMetric]:
        """Return a bot's metrics, most recently calculated first."""
        table = PerformanceMetric
        query = select(table).where(table.bot_id == key(bot_id)).limit(page(limit)[0])
        return [*self.session.scalars(query.order_by(table.calculated_at.desc(), table.id))]


def bot_configuration_schema() -> dict[str, Any]:
    """Return the JSON schema for a bot's ``config``; other keys are up to the bot's program."""
    return {**_CONFIGURATION}


def _validation(config: Mapping[str, Any]) -> tuple[bool, list[str], list[str]]:
    errors = [f"{name} is missing" for name in _CONFIGURATION["required"] if name not in config]
    symbol = config.get("symbol", "-")
    if not isinstance(symbol, str) or not 0 < len(symbol) <= 20:
        errors.append(f"symbol is not a string of 1 to 20 characters: {symbol!r:.80}")
    try:
        Timeframe.parse(config.get("timeframe", "1d"))
    except (BadTimeframeError, TypeError) as error:
        errors.append(f"timeframe: {error}")
    return not errors, errors, []


def _insert(
    repo: Repository, model: Any, values: Mapping[str, Any], needed: tuple[str, ...]
) -> Any:
    for name in needed:
        if values.get(name) is None:
            raise QueryError(f"{model.__name__} needs a value for {name}")
    now = repo.now()
    number = _key_of(values.get("id"))
    if repo.session.get(model, number) is not None:
        raise QueryError(f"{model.__name__} {number!r} already exists")
    row = model(id=number, created_at=now)
    if hasattr(model, "updated_at"):
        row.updated_at = now
    assign(row, {name: value for name, value in values.items() if name != "id"})
    repo.session.add(row)
    repo.session.flush()
    return row


def _key_of(number: Any) -> int | str:
    """Return the key for a new record; None means a random one."""
    return key(str(uuid.uuid4()) if number is None else number)


def _position(row: Position) -> dict[str, Any]:
    hidden = ("exact_price", "cash")
    return {name: value for name, value in as_dict(row).items() if name not in hidden}


def _positions(rows: Iterable[Position]) -> list[dict[str, Any]]:
    return [_position(row) for row in rows]


def _state(row: Position) -> PositionState:
    """Return the exact state that a row describes.

    The exact price is stored as a hexadecimal fraction, because Python limits the number of digits
    when it converts decimal integers.
    """
    price = None
    if row.exact_price is not None:
        above, below = row.exact_price.split("/")
        price = Fraction(int(above, 16), int(below, 16))
    return PositionState(
        "long" if row.direction == "long" else "short", row.qty_open, price, row.cash
    )


def _store(row: Position, state: PositionState) -> None:
    price = state.price
    row.exact_price = None if price is None else f"{price.numerator:x}/{price.denominator:x}"
    row.avg_price = None if price is None else rounded(price)
    row.qty_open, row.cash = state.quantity, state.cash
    row.realized_pnl = rounded(state.realized)


def _unrealized_gain(state: PositionState, mark_price: Any) -> Fraction:
    if state.price is None:
        return Fraction(0)
    change = Fraction(exact(mark_price, "mark_price")) - state.price
    quantity = Fraction(state.quantity)
    return change * quantity if state.direction == "long" else -change * quantity


def _net(row: Trade, values: Mapping[str, Any]) -> None:
    """Compute a trade's net profit if its gross profit or commission is given, but not the net."""
    is_given = values.get("gross_pnl") is not None or values.get("commission") is not None
    if is_given and values.get("net_pnl") is None and row.gross_pnl is not None:
        row.net_pnl = rounded(Fraction(row.gross_pnl) - Fraction(row.commission or 0))


class TradeRepository(Repository):
    """The functions of :data:`~onetape.db.services.trading_service`, within one unit of work.

    Results are plain dictionaries with the columns as keys; amounts of money are ``Decimal``, and
    instants are timezone-aware in UTC. ``to_frame`` returns the trades.
    """

    model = Trade

    upsert_bot = delegated(BotsRepo, BotsRepo.upsert_bot, as_dict)
    heartbeat = delegated(BotsRepo, BotsRepo.heartbeat, same)
    get_bot_by_id = delegated(BotsRepo, BotsRepo.get, as_dict_or_none)
    get_enabled_bots = delegated(BotsRepo, BotsRepo.enabled, as_dicts)
    get_bots_by_status = delegated(BotsRepo, BotsRepo.by_status, as_dicts)
    update_bot_status = delegated(BotsRepo, BotsRepo.update_status, same)
    update_bot_performance = delegated(BotsRepo, BotsRepo.update_performance, same)
    validate_bot_configuration = delegated(BotsRepo, BotsRepo.validate, same)
    validate_all_bot_configurations = delegated(BotsRepo, BotsRepo.validate_all, same)
    add_trade = delegated(TradesRepo, TradesRepo.add, as_dict)
    close_trade = delegated(TradesRepo, TradesRepo.close_trade, same)
    get_open_trades = delegated(TradesRepo, TradesRepo.open_trades, as_dicts)
    get_pnl_summary = delegated(TradesRepo, TradesRepo.pnl_summary, same)
    ensure_open_position = delegated(PositionsRepo, PositionsRepo.ensure_open, _position)
    apply_fill = delegated(PositionsRepo, PositionsRepo.apply_fill, _position)
    close_if_flat = delegated(PositionsRepo, PositionsRepo.close_if_flat, _position)
    mark_closed = delegated(PositionsRepo, PositionsRepo.mark_closed, _position)
    get_open_positions = delegated(PositionsRepo, PositionsRepo.open_positions, _positions)
    add_metric = delegated(MetricsRepo, MetricsRepo.add, as_dict)
    latest_metrics = delegated(MetricsRepo, MetricsRepo.latest_for_bot, as_dicts)
