"""Bots, trades, positions and performance metrics.

Money and quantities are accepted as ``Decimal``, integer, text or float (with the digits of its
``repr``), and returned as ``Decimal``.
"""

from __future__ import annotations

import math
import uuid
from collections.abc import Mapping
from datetime import UTC, date, datetime, timedelta
from decimal import Decimal, InvalidOperation
from fractions import Fraction
from typing import Any

from sqlalchemy import or_, select

from ...calendars.calendar import day_span
from ...calendars.localtime import FIRST_YEAR
from ...config.settings import meaning_of
from ...errors import BadTimeframeError, QueryError
from ...model.instant import from_ms, to_ms
from ...model.timeframe import Timeframe
from ...symbols.classify import SymbolRefusal
from ..core.database import locked
from ..core.texts import key
from ..models.model_trading import BotInstance, PerformanceMetric, Position, Trade
from ..position import ACTIONS, DIRECTIONS, PositionState, rounded
from .rows import Repository, as_dict, assign, claim, exact, page

__all__ = ["BotsRepo", "MetricsRepo", "PositionsRepo", "TradeRepository", "TradesRepo"]

_NOTHING = Decimal(0)
# Keys in a position's metadata that are prices, and so are adjusted for splits and dividends.
_LEVELS = ("stop", "stop_loss", "take_profit", "threshold")
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

    def heartbeat(self, bot_id: str | int) -> None:
        """Record that a bot is running now; an unknown bot is ignored."""
        if row := self.lock(bot_id):
            row.last_heartbeat = self.now()


class TradesRepo(Repository):
    """Stores and queries trades, which are never adjusted for splits or dividends."""

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
        return [
            *self.session.scalars(query if symbol is None else query.where(Trade.symbol == symbol))
        ]

    def pnl_summary(self, bot_id: str | int | None = None) -> dict[str, Any]:
        """Return the total ``net_pnl`` and the number (``n_trades``) of the closed trades."""
        query = select(Trade.net_pnl).where(Trade.status == "closed")
        if bot_id is not None:
            query = query.where(Trade.bot_id == key(bot_id))
        # Not in SQL, because SQLite would sum the strings as floats.
        values = self.session.scalars(query).all()
        total = sum((Fraction(value) for value in values if value is not None), Fraction(0))
        return {"net_pnl": rounded(total), "n_trades": len(values)}


class PositionsRepo(Repository):
    """Stores and changes positions, with exact quantities and prices."""

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
            actions={},
            held={},
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
        if bot_id is not None:
            query = query.where(Position.bot_id == key(bot_id))
        if symbol is not None:
            query = query.where(Position.symbol == symbol)
        return [*self.session.scalars(query.order_by(Position.opened_at, Position.id))]

    def apply_fill(
        self,
        *,
        position_id: str | int,
        action: str,
        qty: Any,
        price: Any,
        ts: datetime | None = None,
        close_when_flat: bool = True,
        commission: Any = 0,
    ) -> Position:
        """Increase or reduce a position by a fill (an executed order).

        A position that reaches 0 is closed, unless ``close_when_flat`` is False.

        Args:
            position_id: Key of an open position.
            action: ``buy`` or ``sell``.
            qty: Number of shares or coins.
            price: Price per share or coin.
            ts: Time of execution, not before the last fill's; by default the current time.
            close_when_flat: Whether to close a position that reaches 0.
            commission: Cost in the currency of the price; negative for a rebate. It lowers the
                realized profit immediately; the mean price does not include it.

        Raises:
            QueryError: There is no such open position, a number is invalid or not above 0, the
                action is not ``buy`` or ``sell``, the fill would reduce the position by more than
                its open quantity, or the fill is earlier than the last fill or than the ex-date of
                a split or dividend that has been applied.
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
        moment = self._checked_time(row, ts)
        state = _state(row).filled(verb, quantity, paid, cost)
        _note_held(row, moment, state.quantity)
        _store(row, state)
        if row.filled_at is None and moment < row.opened_at:
            row.opened_at = moment
        row.filled_at = moment
        if row.qty_open == 0 and close_when_flat:
            row.status, row.closed_at = "closed", moment
        self.session.flush()
        return row

    def close_if_flat(self, *, position_id: str | int, ts: datetime | None = None) -> Position:
        """Close a position if its open quantity is 0; otherwise leave it unchanged."""
        row = self._locked(position_id)
        if row.qty_open == 0 and row.status != "closed":
            row.status, row.closed_at = "closed", ts or self.now()
        self.session.flush()
        return row

    def mark_closed(self, *, position_id: str | int, ts: datetime | None = None) -> Position:
        """Close a position without a fill, discarding the open quantity and keeping the realized profit."""
        row = self._locked(position_id)
        if row.status != "closed":
            state = _state(row)
            _store(row, PositionState(state.direction, cash=rounded(state.realized)))
            row.status, row.closed_at = "closed", ts or self.now()
        self.session.flush()
        return row

    def apply_action(
        self,
        symbol: str,
        ex_date: date,
        action_type: str,
        *,
        ratio: Any = None,
        amount: Any = None,
    ) -> list[dict[str, Any]]:
        """Apply a split or a dividend once to each open position of a symbol; return the changes.

        Only positions that were opened before ``ex_date`` (the start of that day in the symbol's
        market) change. A dividend is paid on the quantity held at that time, even if the position
        has had fills since then, or has been reduced to 0. Several dividends on one day are
        distinguished by their amounts, so equal amounts must be added up and passed as one. A split
        multiplies the quantity by ``ratio`` (new shares for each old one) and divides prices by it.
        A dividend lowers prices by ``amount`` per share, and is added to the position's cash.
        "Prices" means the mean price, plus ``stop``, ``stop_loss``, ``take_profit`` and
        ``threshold`` in the metadata. Trades are not changed.

        Returns:
            For each position that changed, a mapping with ``position_id``, ``text`` (a sentence),
            and the changed values ``before`` and ``after`` the action.

        Raises:
            QueryError: The action is neither a split nor a dividend, or a number is invalid or not
                above 0. No market is known for the symbol, or ``ex_date`` is in the future. A price
                would fall to 0. A later split, or a different split on that day, has been applied
                to a position. The action is a split, and a position has a later dividend or has had
                a fill since ``ex_date``. After any of these errors, no position has changed.
        """
        if isinstance(ex_date, datetime) or not isinstance(ex_date, date):
            raise QueryError(f"ex_date is not a date: {ex_date!r:.80}", hint="use a datetime.date")
        if ex_date.year < FIRST_YEAR:
            raise QueryError(f"ex_date {ex_date} is before {FIRST_YEAR}", hint="use a later date")
        begin = _begin(symbol, ex_date)
        if begin > self.clock.now_ms():
            raise QueryError(
                f"ex_date {ex_date} is in the future", hint="apply the action on its day"
            )
        if action_type == "split":
            by: Fraction | Decimal = _ratio(ratio)
        elif action_type == "dividend":
            by = exact(amount, "amount", is_above_0=True)
        else:
            raise QueryError(f"unknown type of action {action_type!r:.80}; use split or dividend")
        name, now = f"{ex_date} {action_type}", self.now()
        may_concern = or_(Position.status == "open", Position.closed_at >= from_ms(begin))
        query = select(Position).where(Position.symbol == symbol, may_concern)
        with self.session.begin_nested():  # the caller may continue after an error
            changed = []
            for row in locked(self.session, query.order_by(Position.id)):
                if row.qty_open and row.opened_at > now:
                    raise QueryError(
                        (
                            f"position {row.id} in {row.symbol} was opened at {row.opened_at}, which is "
                            "in the future"
                        ),
                        hint="correct the clock, or close the position and open it again",
                    )
                if (row.qty_open or isinstance(by, Decimal)) and _is_new(row, name, by, begin):
                    quantity, fraction = _holding(row, name, by, begin, now)
                    changed += [_change(row, name, by, quantity, fraction)] if quantity else []
            return changed

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

    def _checked_time(self, row: Position, ts: datetime | None) -> datetime:
        """Return a fill's time of execution, after checking that it is not out of order.

        Raises:
            QueryError: The last fill, or a split or dividend that has been applied, is later than
                this fill.
        """
        now = self.now()
        if ts is None:
            return now
        moment, last = _aware_time(ts), row.filled_at
        # A time in the future was stored by a wrong clock, so the order is not checked against it.
        if last is not None and moment < last <= now:
            raise QueryError(
                f"the fill at {moment} is earlier than the last fill, at {last}",
                hint="apply fills in order; without ts, a fill counts as executed now",
            )
        if row.actions and to_ms(moment) < _begin(row.symbol, newest := _newest_ex_date(row)):
            raise QueryError(
                f"the fill at {moment} is before {newest}, the ex-date of an action that was applied",
                hint="convert quantity and price by the action, and apply the fill without ts",
            )
        return moment

    def _locked(self, position_id: str | int) -> Position:
        same_id = Position.id == key(position_id)
        row = locked(self.session, select(Position).where(same_id)).one_or_none()
        if row is None:
            raise QueryError(f"the position does not exist: {position_id!r:.80}")
        return row


class MetricsRepo(Repository):
    """Stores and queries the performance metrics of bots."""

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


class TradeRepository(Repository):
    """The functions of :mod:`~onetape.data.db.services.trading_service`, within one unit of work.

    Results are plain dictionaries with the columns as keys; amounts of money are ``Decimal``, and
    instants are timezone-aware in UTC.
    """

    @property
    def bots(self) -> BotsRepo:
        """Repository of bots."""
        return BotsRepo(self.session, self.clock)

    @property
    def trades(self) -> TradesRepo:
        """Repository of trades."""
        return TradesRepo(self.session, self.clock)

    @property
    def positions(self) -> PositionsRepo:
        """Repository of positions."""
        return PositionsRepo(self.session, self.clock)

    @property
    def metrics(self) -> MetricsRepo:
        """Repository of performance metrics."""
        return MetricsRepo(self.session, self.clock)

    def upsert_bot(self, bot: Mapping[str, Any]) -> dict[str, Any]:
        """Add a bot, or change the columns of an existing one, and return it."""
        return as_dict(self.bots.upsert_bot(bot))

    def heartbeat(self, bot_id: str | int) -> None:
        """Record that a bot is running."""
        self.bots.heartbeat(bot_id)

    def get_bot_by_id(self, bot_id: str | int) -> dict[str, Any] | None:
        """Return a bot, or None if it does not exist."""
        row = self.session.get(BotInstance, key(bot_id))
        return None if row is None else as_dict(row)

    def get_enabled_bots(self, user_id: int | None = None) -> list[dict[str, Any]]:
        """Return the bots whose status is not ``disabled``."""
        return self._bots(BotInstance.status != "disabled", user_id)

    def get_bots_by_status(self, status: str, user_id: int | None = None) -> list[dict[str, Any]]:
        """Return the bots that have the given status."""
        return self._bots(BotInstance.status == status, user_id)

    def _bots(self, condition: Any, user_id: int | None) -> list[dict[str, Any]]:
        query = (
            select(BotInstance).where(condition).order_by(BotInstance.created_at, BotInstance.id)
        )
        if user_id is not None:
            query = query.where(BotInstance.user_id == user_id)
        return [as_dict(row) for row in self.session.scalars(query)]

    def update_bot_status(
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
        row = self.bots.lock(bot_id)
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

    def update_bot_performance(
        self, bot_id: str | int, current_balance: Any = None, total_pnl: Any = None
    ) -> bool:
        """Set a bot's balance or total profit, if given; return whether the bot exists."""
        row = self.bots.lock(bot_id)
        if row is None:
            return False
        values = {"current_balance": current_balance, "total_pnl": total_pnl}
        updates = {name: value for name, value in values.items() if value is not None}
        assign(row, updates | {"updated_at": self.now()})
        return True

    def add_trade(self, trade: Mapping[str, Any]) -> dict[str, Any]:
        """Add a trade, passed as a mapping from column to value, and return it."""
        return as_dict(self.trades.add(trade))

    def close_trade(self, /, trade_id: str | int, **fields: Any) -> bool:
        """Close a trade; see :meth:`TradesRepo.close_trade`."""
        return self.trades.close_trade(trade_id, **fields)

    def get_open_trades(self, symbol: str | None = None) -> list[dict[str, Any]]:
        """Return the open trades."""
        return [as_dict(row) for row in self.trades.open_trades(symbol)]

    def get_pnl_summary(self, bot_id: str | int | None = None) -> dict[str, Any]:
        """Return the total ``net_pnl`` and the number (``n_trades``) of the closed trades."""
        return self.trades.pnl_summary(bot_id)

    def ensure_open_position(
        self,
        *,
        bot_id: str | int,
        trade_type: str,
        symbol: str,
        direction: str,
        opened_at: datetime | None = None,
        metadata: Mapping[str, Any] | None = None,
    ) -> dict[str, Any]:
        """Return the open position for a bot, trade type and symbol, created if missing."""
        row = self.positions.ensure_open(
            bot_id=bot_id,
            trade_type=trade_type,
            symbol=symbol,
            direction=direction,
            opened_at=opened_at,
            metadata=metadata,
        )
        return _position(row)

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
    ) -> dict[str, Any]:
        """Apply a fill to a position; see :meth:`PositionsRepo.apply_fill`."""
        row = self.positions.apply_fill(
            position_id=position_id,
            action=action,
            qty=qty,
            price=price,
            ts=ts,
            close_when_flat=close_when_flat,
            commission=commission,
        )
        return _position(row)

    def apply_action(
        self,
        symbol: str,
        ex_date: date,
        action_type: str,
        *,
        ratio: Any = None,
        amount: Any = None,
    ) -> list[dict[str, Any]]:
        """Apply a split or a dividend; see :meth:`PositionsRepo.apply_action`."""
        positions = self.positions
        return positions.apply_action(symbol, ex_date, action_type, ratio=ratio, amount=amount)

    def close_if_flat(self, position_id: str | int, ts: datetime | None = None) -> dict[str, Any]:
        """Close a position if its open quantity is 0; otherwise leave it unchanged."""
        return _position(self.positions.close_if_flat(position_id=position_id, ts=ts))

    def mark_closed(self, position_id: str | int, ts: datetime | None = None) -> dict[str, Any]:
        """Close a position without a fill."""
        return _position(self.positions.mark_closed(position_id=position_id, ts=ts))

    def get_open_positions(
        self, *, bot_id: str | int | None = None, symbol: str | None = None
    ) -> list[dict[str, Any]]:
        """Return the open positions."""
        rows = self.positions.open_positions(bot_id=bot_id, symbol=symbol)
        return [_position(row) for row in rows]

    def add_metric(self, metric: Mapping[str, Any]) -> dict[str, Any]:
        """Add a bot's metrics, passed as a mapping from column to value, and return them."""
        return as_dict(self.metrics.add(metric))

    def latest_metrics(self, bot_id: str | int, limit: int = 20) -> list[dict[str, Any]]:
        """Return a bot's metrics, most recently calculated first."""
        return [as_dict(row) for row in self.metrics.latest_for_bot(bot_id, limit)]

    def validate_bot_configuration(self, bot_id: str | int) -> tuple[bool, list[str], list[str]]:
        """Return whether a bot's ``config`` is valid, and lists of errors and warnings."""
        bot = self.get_bot_by_id(bot_id)
        if bot is None:
            return False, [f"Bot with ID {bot_id} not found"], []
        return _validation(bot["config"])

    def validate_all_bot_configurations(
        self, user_id: int | None = None
    ) -> dict[Any, tuple[bool, list[str], list[str]]]:
        """Validate the ``config`` of every bot that is not disabled; return the results by bot key."""
        return {bot["id"]: _validation(bot["config"]) for bot in self.get_enabled_bots(user_id)}


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
    return as_dict(row, "exact_price", "cash", "held")


def _state(row: Position) -> PositionState:
    """Return the exact state that a row describes.

    The exact price is stored as a hexadecimal fraction, because Python limits the number of digits
    when it converts decimal integers.
    """
    price = None if row.exact_price is None else _fraction(row.exact_price)
    return PositionState(
        "long" if row.direction == "long" else "short", row.qty_open, price, row.cash
    )


def _fraction(text: str) -> Fraction:
    above, _, below = text.partition("/")
    return Fraction(int(above, 16), int(below, 16))


def _hexadecimal(value: Fraction) -> str:
    return f"{value.numerator:x}/{value.denominator:x}"


def _store(row: Position, state: PositionState) -> None:
    price = state.price
    row.exact_price = None if price is None else _hexadecimal(price)
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


def _begin(symbol: str, ex_date: date) -> int:
    """Return the time (UTC milliseconds) at which a day begins in the symbol's market.

    Raises:
        QueryError: No market is known for the symbol.
    """
    instrument = meaning_of(symbol)
    if isinstance(instrument, SymbolRefusal):
        raise QueryError(
            f"no market is known for {symbol!r:.40}: {instrument.message}", hint=instrument.hint
        )
    return day_span(instrument, ex_date).start


def _note_held(row: Position, moment: datetime, after: Decimal) -> None:
    """Record in ``held`` the effect of a fill on its market day; see :class:`Position`.

    Entries for days after the fill were recorded while the clock was wrong. They are removed, and
    the fractions for the other days are then treated as unknown. If the symbol's market is unknown,
    nothing is recorded, because splits and dividends cannot be applied anyway.

    Args:
        row: Position, in its state before the fill.
        moment: Time at which the fill was executed.
        after: Quantity after the fill.
    """
    instrument = meaning_of(row.symbol)
    if isinstance(instrument, SymbolRefusal):
        return
    last = moment.date() + timedelta(days=1)
    days = (last - timedelta(days=n) for n in range(3))
    day = next(day for day in days if day_span(instrument, day).start <= to_ms(moment)).isoformat()
    quantities = {day: f"{row.qty_open:f} 1/1"} | (row.held or {})
    if max(quantities) > day:
        quantities = {d: text.partition(" ")[0] for d, text in quantities.items() if d <= day}
    quantity, _, fraction = quantities[day].partition(" ")
    if fraction and after < row.qty_open:
        fraction = _hexadecimal(_fraction(fraction) * Fraction(after) / Fraction(row.qty_open))
    row.held = quantities | {day: f"{quantity} {fraction}".rstrip()}


def _holding(
    row: Position, name: str, by: Fraction | Decimal, begin: int, now: datetime
) -> tuple[Decimal, Fraction]:
    """Return the quantity held at the start of an ex-date, and the part of its cost that remains.

    The part is a fraction from 0 to 1.

    Raises:
        QueryError: The position is open, and has had a fill since the ex-date began after which the
            action can no longer be applied: the action is a split, or the clock was wrong.
    """
    if row.filled_at is None or to_ms(row.filled_at) < begin:
        return row.qty_open, Fraction(1)
    quantities = (row.held or {}) if row.filled_at <= now else {}
    entries = [quantities[day].partition(" ") for day in sorted(quantities) if day >= name[:10]]
    shares = [_fraction(fraction) for _, _, fraction in entries if fraction]
    if row.qty_open and (isinstance(by, Fraction) or not entries or len(shares) < len(entries)):
        raise QueryError(
            f"position {row.id} in {row.symbol} has had a fill since {name[:10]}",
            hint="apply actions before the fills of their day",
        )
    fraction = math.prod(shares, start=Fraction(1))
    return (Decimal(entries[0][0]), fraction) if entries else (_NOTHING, fraction)


def _newest_ex_date(row: Position) -> date:
    """Return the latest ex-date among the actions applied to a position."""
    return max(date.fromisoformat(name[:10]) for name in row.actions)


def _is_new(row: Position, name: str, by: Fraction | Decimal, begin: int) -> bool:
    """Return whether an action must be applied to a position.

    This is the case if the position was opened before the ex-date and the action has not been
    applied yet.

    Raises:
        QueryError: A later split has already been applied or, if this action is a split, a later
            dividend.
    """
    if to_ms(row.opened_at) >= begin or _is_applied(row, name, by):
        return False
    # Only splits are checked, because the order of dividends does not change the result.
    later = [action for action in row.actions if action[:10] > name[:10]]
    if conflicts := [action for action in later if "split" in (name[11:], action[11:])]:
        raise QueryError(
            (
                f"the {name} of {row.symbol} is earlier than the {conflicts[0]}, which has already "
                f"been applied to {row.id}"
            ),
            hint="apply actions in date order",
        )
    return True


def _is_applied(row: Position, name: str, by: Fraction | Decimal) -> bool:
    """Return whether an action has already been applied to a position.

    Raises:
        QueryError: A split with a different ratio was applied for the same day.
    """
    applied = row.actions.get(_key(name, by))
    if applied is None or isinstance(by, Decimal):
        return applied is not None
    if not applied.startswith(_sentence(row, name, by)):
        words = applied.removeprefix(f"{row.symbol}: {name} ").partition(":")[0]
        raise QueryError(
            (
                f"position {row.id} in {row.symbol} has already been split {words} on that "
                f"day, not by {by}"
            ),
            hint="for several splits on one day, use the product of their ratios",
        )
    return True


def _key(name: str, by: Fraction | Decimal) -> str:
    return name if isinstance(by, Fraction) else f"{name} {by}"


def _sentence(row: Position, name: str, by: Fraction | Decimal) -> str:
    return f"{row.symbol}: {name} by {by}{'' if isinstance(by, Fraction) else ' a share'}: "


def _change(
    row: Position, name: str, by: Fraction | Decimal, quantity: Decimal, fraction: Fraction
) -> dict[str, Any]:
    """Apply a split, or a dividend for ``quantity`` shares, to a position; return the changes."""
    state, levels = _state(row), dict(row.extra_metadata or {})
    moved = [field for field in _LEVELS if row.qty_open and levels.get(field) is not None]
    figures = {field: getattr(row, field) for field in ("qty_open", "avg_price", "realized_pnl")}
    old = figures | {field: levels[field] for field in moved}
    for field in moved:
        level = Fraction(exact(levels[field], field))
        moved_to = level / by if isinstance(by, Fraction) else level - Fraction(by)
        if moved_to <= 0:
            raise QueryError(
                f"{field} {levels[field]} of position {row.id} would fall to {moved_to}, but must "
                "stay above 0"
            )
        # JSON has no decimals, so a string stays a string with all digits, and a number becomes a
        # float.
        value = rounded(moved_to)
        levels[field] = format(value, "f") if isinstance(levels[field], str) else float(value)
    _store(row, state.split(by) if isinstance(by, Fraction) else state.paid(quantity, by, fraction))
    if moved:
        row.extra_metadata = levels
    new = {column: getattr(row, column) for column in figures} | {
        column: levels[column] for column in moved
    }
    always = {"qty_open", "avg_price"} if row.qty_open else ()
    changed = [column for column in old if old[column] != new[column] or column in always]
    before, after = ({column: values[column] for column in changed} for values in (old, new))
    words = ", ".join(f"{column} {before[column]} to {after[column]}" for column in before)
    row.actions[_key(name, by)] = text = _sentence(row, name, by) + words
    return {"position_id": row.id, "text": text, "before": before, "after": after}


def _ratio(ratio: Any) -> Fraction:
    try:
        if isinstance(ratio, bool) or not isinstance(ratio, Fraction | Decimal | int | str | float):
            raise ValueError
        value = Fraction(str(ratio) if isinstance(ratio, float) else ratio)
    except (ValueError, ArithmeticError, InvalidOperation) as exc:
        raise QueryError(
            f"ratio is not a number: {ratio!r:.80}",
            hint="use a number such as 4, or a fraction such as 1/10",
        ) from exc
    if value <= 0 or len(str(value)) > 1_000:
        raise QueryError(
            f"ratio must be above 0 and at most 1,000 characters long, not {ratio!r:.80}"
        )
    return value


def _aware_time(moment: datetime) -> datetime:
    return moment.replace(tzinfo=UTC) if moment.tzinfo is None else moment
