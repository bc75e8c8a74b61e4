"""Who is listed: what an instrument of the truth is, and the ones there from the start."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from datetime import date

from onetape.data.core.model.identity.instrument import AssetClass
from onetape.data.core.model.market.actions import Action
from onetape.data.core.model.time.instant import day_ms, parse_iso
from onetape.data.core.model.time.span import Span
from onetape.data.core.runtime.once import cached_property

from .sessions import ALWAYS
from .tape import NEVER, Tape

NEW_YORK = "America/New_York"


@dataclass(frozen=True)
class Listing:
    """One instrument of the ground truth.

    Attributes:
        symbol: its name in the ground truth; a vendor that spells it otherwise is in ``spellings``.
        base: price around which it moves before any split.
        decimals, volume_decimals: of prices and volumes.
        lot: smallest volume, in units of ``volume_decimals``.
        calendar, timezone: where and when it trades.
        currency: unit of prices, such as ``USD`` or ``GBp``.
        exchange, name: what vendors print about it.
        listed, delisted: UTC instants as ISO text; ``delisted`` empty means never.
        outages: ISO texts (from, until) between which the venue printed nothing.
        quiet: of 1000 minutes so many have no trade; bars wholly quiet are not there.
        actions: splits and dividends; ``ex_at`` in them is not read.
        told: those that a vendor tells, and adjusts its prices for; None if they are the true ones.
        spellings: vendor to its spelling, where the vendor's face cannot tell.
        seed: what its prices follow from, if not from its symbol.
        extended: whether it trades before the open and after the close, too: vendors that send
            such minutes, always or when asked, have them.
    """

    symbol: str
    asset_class: AssetClass
    base: float
    decimals: int = 2
    volume_decimals: int = 0
    lot: int = 100
    calendar: str = ALWAYS
    timezone: str = "UTC"
    currency: str = "USD"
    exchange: str = ""
    name: str = ""
    listed: str = "2010-01-04"
    delisted: str = ""
    outages: tuple[tuple[str, str], ...] = ()
    quiet: int = 0
    actions: tuple[Action, ...] = ()
    told: tuple[Action, ...] | None = None
    spellings: Mapping[str, str] = field(default_factory=dict, hash=False)
    seed: str = ""
    extended: bool = False

    @cached_property
    def extended_tape(self) -> Tape:
        """The same minutes with those of 04:00 to 20:00 New York time beside."""
        return replace(self.tape, calendar=f"{self.calendar} extended")

    @cached_property
    def tape(self) -> Tape:
        """The minutes it trades; actions are not in them."""
        return Tape(
            seed=self.seed or self.symbol,
            base=round(self.base * 10**self.decimals),
            lot=self.lot,
            calendar=self.calendar,
            listed_ms=parse_iso(self.listed),
            delisted_ms=parse_iso(self.delisted) if self.delisted else NEVER,
            outages=tuple(Span(parse_iso(a), parse_iso(b)) for a, b in self.outages),
            quiet=self.quiet,
        )

    @property
    def splits(self) -> list[Action]:
        """Its splits, oldest first."""
        return sorted(a for a in self.actions if a.type == "split")

    @property
    def dividends(self) -> list[Action]:
        """Its dividends, oldest first; amounts as paid on the shares of that day."""
        return sorted(a for a in self.actions if a.type == "dividend")


def split(ex_date: str, numerator: int, denominator: int = 1) -> Action:
    """Return a split: ``split("2020-08-31", 4)`` is 4-for-1."""
    day = date.fromisoformat(ex_date)
    return Action(day, "split", day_ms(day), numerator=numerator, denominator=denominator)


def dividend(ex_date: str, amount: float) -> Action:
    """Return a cash dividend, on the share basis of its day."""
    day = date.fromisoformat(ex_date)
    return Action(day, "dividend", day_ms(day), amount=amount)


def _coin(symbol: str, base: float, listed: str, **more: object) -> Listing:
    made = {"currency": "USDT", "exchange": "Binance", "volume_decimals": 3, "lot": 7} | more
    return Listing(symbol, "crypto", base, listed=listed, **made)  # type: ignore[arg-type]


def _share(symbol: str, base: float, *actions: Action, **more: object) -> Listing:
    made = {
        "calendar": "XNYS",
        "timezone": NEW_YORK,
        "exchange": "NYQ",
        "name": f"{symbol} Inc.",
    } | more
    return Listing(symbol, "stock", base, actions=actions, **made)  # type: ignore[arg-type]


def usual_listings() -> list[Listing]:
    """Return the instruments that every ground truth begins with."""
    return [
        _coin("BTCUSDT", 30_000.0, "2017-08-17T04:00"),
        _coin("ETHUSDT", 2_000.0, "2017-08-17T04:00"),
        _coin("SOLUSDT", 60.0, "2020-08-11T06:00", decimals=4),
        _coin("ETHBTC", 0.05, "2017-07-14T04:00", decimals=6, currency="BTC"),
        _coin("NEWUSDT", 5.0, "2024-06-03T10:30", decimals=4),
        _coin("OLDUSDT", 1.5, "2019-01-01", decimals=4, delisted="2022-05-13T00:30"),
        _coin("HALTUSDT", 300.0, "2018-01-01", outages=(("2024-03-05T02:00", "2024-03-05T05:30"),)),
        _coin("THINUSDT", 12.0, "2019-01-01", decimals=4, quiet=700),
        _coin("BTC-USD", 30_000.0, "2014-09-17", currency="USD", exchange="CCC",
              name="Bitcoin USD", volume_decimals=0),
        _share(
            "AAPL", 5_000.0, split("2014-06-09", 7), split("2020-08-31", 4),
            dividend("2020-08-07", 0.82), dividend("2020-11-06", 0.205),
            dividend("2023-08-11", 0.24), dividend("2023-11-10", 0.24),
            dividend("2024-02-09", 0.24), dividend("2024-05-10", 0.25),
            exchange="NMS", name="Apple Inc.",
        ),
        _share(
            "MSFT", 250.0, dividend("2023-08-16", 0.68), dividend("2023-11-15", 0.75),
            dividend("2024-02-14", 0.75), dividend("2024-05-15", 0.75), exchange="NMS",
        ),
        _share("SPY", 400.0, dividend("2024-03-15", 1.59), exchange="PCX"),
        _share(
            "NVDA", 900.0, split("2024-06-10", 10), dividend("2024-06-11", 0.01), exchange="NMS",
        ),
        _share("BRK-B", 350.0),
        _share("REVS", 2.0, split("2024-04-15", 1, 10), decimals=4),
        _share("GONE", 40.0, delisted="2023-03-10T21:00"),
        _share("YOUNG", 35.0, listed="2024-04-24T13:30"),
        _share(
            "VOD.L", 80.0, calendar="XLON", timezone="Europe/London",
            currency="GBp", exchange="LSE",
        ),
    ]  # fmt: skip
