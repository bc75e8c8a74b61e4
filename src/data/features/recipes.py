"""Recipes: what can be computed from bars, with its parameters, its lead and its outputs.

A recipe in use is written ``name:parameters@timeframe``, such as ``rsi:14``, ``macd:12,26,9``,
``vwap:session`` or ``rsi:14@1h``; parameters that are left out have their defaults.
"""

from __future__ import annotations

import math
import re
from bisect import bisect_right
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import date
from numbers import Integral
from pathlib import Path
from typing import Any, Literal

import numpy as np

from ..core.model.display.texts import plain_number
from ..core.model.time.instant import DAY_MS, day_ms
from ..core.model.time.timeframe import Timeframe
from ..core.model.words.suggestion import did_you_mean
from ..core.runtime.once import cached_property
from ..errors import QueryError
from . import functions
from .joins import ReportUse, parse_report
from .rolling import library

__all__ = [
    "MOST_LEAD", "Recipe", "RecipeUse", "parse_recipe", "parse_recipes", "parse_watched",
    "register_recipe",
]  # fmt: skip

Kind = Literal["windowed", "decaying", "anchored"]
# Maximum lead of a recipe, in bars; alerts, which read the bars of one window, bound the parameters instead.
MOST_LEAD, MOST_PERIOD = 5_000, 1_000
# Every whole number below it is a float64.
_LARGEST = 1 << 53
# Weight that everything before the lead of a decaying recipe has at most.
_REST = 1e-9
# Behind a hole, decaying recipes are NaN for this many periods.
_PERIODS_BEHIND_HOLES = 3
_SHAPE = re.compile(r"([a-z][a-z0-9_]{0,31})(?::([^@:]*))?(?:@([^@:]*))?")
_OLDER_SHAPE = re.compile(r"([a-z][a-z0-9_]{0,31})\(([0-9]{1,4})\)")
_NAME = re.compile(r"[a-z][a-z0-9_]{0,31}")
_AHEAD = "; a negative one would look ahead"
_LISTING, _SESSION = "listing", "session"
_PRICES = ("high", "low", "close")
_ALL = ("open", *_PRICES, "volume")


@dataclass(frozen=True)
class Recipe:
    """A recipe.

    Attributes:
        name: Name, as it is written.
        kind: ``windowed``, ``decaying`` or ``anchored``.
        function: Function of the columns and the parameters, see :mod:`.functions`; that of a
            registered recipe takes a frame.
        defaults: Maps each parameter to its default. An int stands for a parameter that must be a
            whole number.
        lead: Function that returns the number of bars before a bar that its value depends on.
        columns: Columns that the function uses.
        outputs: Names of the outputs; empty for a recipe with only one.
        is_own: Whether a program has registered the recipe.
        is_intraday: Whether the recipe needs bars that are shorter than a day.
        least, most: Smallest and largest possible value.
        moves_with_splits: Whether a split changes the scale of the values, as for prices and
            volumes.
    """

    name: str
    kind: Kind
    function: Callable[..., Any]
    defaults: Mapping[str, float]
    lead: Callable[..., int]
    columns: Sequence[str] = ("close",)
    outputs: Sequence[str] = ()
    is_own: bool = False
    is_intraday: bool = False
    least: float = -math.inf
    most: float = math.inf
    moves_with_splits: bool = True

    @property
    def is_watchable(self) -> bool:
        """Whether alerts can watch the recipe: one number from the bars of a window."""
        is_other = self.outputs or self.is_own or self.kind == "anchored"
        return not is_other and {*self.columns} <= {*_ALL}


@dataclass(frozen=True)
class RecipeUse:
    """A recipe with its parameters, such as ``rsi:14@1h``.

    Attributes:
        recipe: Recipe.
        parameters: Values of the parameters, in the order of the recipe.
        anchor: ``session``, ``listing`` or an ISO date; empty unless the recipe is anchored.
        timeframe: Longer timeframe whose bars are used; None means that of the request.
        anchor_ms: Time since which bars count, UTC milliseconds; None without a date or ``listing``.
    """

    recipe: Recipe
    parameters: tuple[float, ...] = ()
    anchor: str = ""
    timeframe: Timeframe | None = None
    anchor_ms: int | None = None

    @cached_property
    def text(self) -> str:
        """The recipe as it is written, with all parameters."""
        words = [*map(plain_number, self.parameters), self.anchor]
        words = [word for word in words if word]
        text = self.recipe.name + (f":{','.join(words)}" if words else "")
        return f"{text}@{self.timeframe}" if self.timeframe else text

    @cached_property
    def names(self) -> list[str]:
        """The names of the outputs' columns, such as ``bbands:20,2.upper``."""
        return [f"{self.text}.{output}" for output in self.recipe.outputs] or [self.text]

    @cached_property
    def lead(self) -> int:
        """The number of bars before a block from which its values are computed."""
        return self.recipe.lead(*self.parameters)

    @property
    def is_free(self) -> bool:
        """Whether the bits of a value depend on its window alone, and not on the block."""
        return self.recipe.kind == "windowed" and not self.recipe.is_own

    @property
    def rows_behind_holes(self) -> int:
        """The number of rows behind a hole that are NaN."""
        if self.recipe.kind == "decaying":
            return int(_PERIODS_BEHIND_HOLES * max(self.parameters, default=0))
        return self.lead if self.recipe.kind == "windowed" else 0

    @property
    def window(self) -> int:
        """The number of bars, with its own, that the value for a bar needs."""
        return 1 + self.lead

    def last_value(self, bars: functions.Columns) -> float:
        """Return the value for the last bar, or NaN if it is undefined.

        It depends only on the bars of the window, however many there are before.
        """
        own = {name: bars[name][-self.window :] for name in self.recipe.columns}
        if not all(len(column) and np.isfinite(column).all() for column in own.values()):
            return math.nan
        (values,) = self.recipe.function(own, *self.parameters)
        return float(values[-1])

    def check_crossing(self, condition: str, value: float) -> None:
        """Check that the values can cross a threshold ``above`` or ``below``.

        Raises:
            QueryError: All possible values are on the same side of the threshold, as for ``rsi:14
                above 170``.
        """
        least, most = self.recipe.least, self.recipe.most
        if not (least <= value < most if condition == "above" else least < value <= most):
            bounds = f"from {least:g} to {most:g}" if most < math.inf else f"{least:g} or more"
            raise QueryError(
                f"{self.text} can never cross {condition} {plain_number(value)}",
                hint=f"its values are {bounds}",
            )

    def lead_in(self, timeframe: Timeframe) -> int:
        """Return the lead for bars of a timeframe; that of a session's anchor is a day and a bar."""
        if self.anchor != _SESSION:
            return self.lead
        return 1 + DAY_MS // (timeframe.step_ms or DAY_MS)


def _decay(weight: float) -> int:
    """Return the number of bars until an average has forgotten what lies before them."""
    return math.ceil(math.log(_REST) / math.log1p(-weight)) if weight < 1 else 1


def _exponential(period: int) -> int:
    return int(period) + _decay(2 / (period + 1))


def _wilder(period: int) -> int:
    return int(period) + _decay(1 / period)


def _window(period: float, *more: float) -> int:
    return int(period) - 1


def _steps(period: float, *more: float) -> int:
    return int(period)


def _none(*parameters: float) -> int:
    return 0


def _recipes() -> Iterator[Recipe]:
    """Yield the packaged recipes."""
    own = functions
    windowed: Kind = "windowed"
    decaying: Kind = "decaying"
    by_20, by_14, by_1 = {"period": 20}, {"period": 14}, {"period": 1}
    bars = ("high", "low", "close")
    yield Recipe("close", windowed, own.close, {}, _none, least=0)
    for name, lead, defaults, least, is_scaled in (
        ("sma", _window, by_20, 0, True), ("wma", _window, by_20, 0, True),
        ("zscore", _window, by_20, -math.inf, False), ("vol", _steps, by_20, 0, False),
        ("change", _steps, by_1, -100, False), ("ret", _steps, by_1, -1, False),
        ("logret", _steps, by_1, -math.inf, False),
    ):  # fmt: skip
        yield Recipe(name, windowed, getattr(own, name), defaults, lead,
                     least=least, moves_with_splits=is_scaled)  # fmt: skip
    yield Recipe("volume", windowed, own.volume, by_1, _window, ("volume",), least=0)
    bands = ("upper", "middle", "lower")
    yield Recipe("bbands", windowed, own.bbands, by_20 | {"width": 2.0}, _window, outputs=bands)
    extremes = ("high", "low")
    yield Recipe("donchian", windowed, own.donchian, by_20, _window, extremes, ("upper", "lower"))
    free: dict[str, Any] = {"moves_with_splits": False}
    percent = free | {"least": 0, "most": 100}
    yield Recipe("willr", windowed, own.willr, by_14, _window, bars, least=-100, most=0, **free)
    of_two = {"period": 14, "smooth": 3}
    yield Recipe(
        "stoch", windowed, own.stoch, of_two, lambda n, d: int(n + d) - 2, bars, ("k", "d")
    )
    yield Recipe("cci", windowed, own.cci, by_20, _window, bars, **free)
    yield Recipe("mfi", windowed, own.mfi, by_14, _steps, (*bars, "volume"), **percent)
    yield Recipe("aroon", windowed, own.aroon, by_14, _steps, extremes, ("up", "down"))
    yield Recipe("dow", windowed, own.dow, {}, _none, ("day",))
    minutes = ("stamp", "opens")
    yield Recipe(
        "session_minute", windowed, own.session_minute, {}, _none, minutes, is_intraday=True
    )
    yield Recipe("ema", decaying, own.ema, by_20, _exponential, least=0)
    yield Recipe("rsi", decaying, own.rsi, by_14, lambda n: 1 + _wilder(n), **percent)
    of_three = {"fast": 12, "slow": 26, "signal": 9}
    yield Recipe("macd", decaying, own.macd, of_three,
                 lambda fast, slow, signal: _exponential(max(fast, slow)) + _exponential(signal),
                 outputs=("line", "signal", "histogram"))  # fmt: skip
    yield Recipe("atr", decaying, own.atr, by_14, lambda n: 1 + _wilder(n), bars, least=0)
    yield Recipe("adx", decaying, own.adx, by_14, lambda n: 1 + 2 * _wilder(n), bars, **percent)
    yield Recipe("vwap", "anchored", own.vwap, {}, _none, (*bars, "volume"))
    yield Recipe("obv", "anchored", own.obv, {}, _none, ("close", "volume"))
    yield Recipe("drawdown", "anchored", own.drawdown, {}, _none)


RECIPES: dict[str, Recipe] = {recipe.name: recipe for recipe in _recipes()}
_PACKAGED = frozenset(RECIPES)
# The columns of a frame of features are among them.
_TAKEN = _PACKAGED | {"fund", "symbol", "timestamp", "closed_by"}


def register_recipe(
    name: str,
    function: Callable[..., Any],
    *,
    lead: int | Callable[..., int],
    defaults: Mapping[str, float] | None = None,
    outputs: Sequence[str] = (),
) -> None:
    """Add a recipe to those of this process; an earlier one of the same name is replaced.

    Examples:
        >>> register_recipe("gap", lambda bars: bars["open"] / bars["close"].shift(1) - 1, lead=1)

    Args:
        name: Lowercase letters, digits and ``_``; not the name of a packaged recipe.
        function: Function of a frame and the parameters that returns a series, or for several
            outputs a frame, with one row for each bar. The frame has the columns ``open high low
            close volume`` (float64, finite) and a naive UTC index. The value for a bar must depend
            only on that bar and the ``lead`` bars before it; it is NaN in the first ``lead`` rows.
        lead: Number of bars, or a function of the parameters that returns it; from 0 to 5,000.
        defaults: Maps each parameter to its default; an int stands for a whole number. All are
            above 0.
        outputs: Names of the outputs, if there are several.

    Raises:
        QueryError: The name is invalid, or that of a packaged recipe or a column; the function
            cannot be called; or another argument is invalid.
    """
    if not isinstance(name, str) or not _NAME.fullmatch(name) or name in _TAKEN:
        taken = "it is the name of a packaged recipe or of a column" if name in _TAKEN else ""
        hint = taken or "use lowercase letters, digits and _, beginning with a letter"
        raise QueryError(f"invalid name of a recipe: {name!r:.80}", hint=hint)
    if not callable(function):
        raise QueryError(f"the function of {name} cannot be called: {function!r:.80}")
    plain, names = _defaults(name, {} if defaults is None else defaults), _outputs(name, outputs)
    bars_before = lead if callable(lead) else lambda *parameters: lead
    own = Recipe(name, "windowed", function, plain, bars_before, _ALL, names, is_own=True)
    if not callable(lead):
        _check_lead(RecipeUse(own))
    RECIPES[name] = own


def _defaults(name: str, given: Any) -> dict[str, float]:
    """Return the defaults of a recipe that is registered; numbers of NumPy become those of Python.

    Raises:
        QueryError: They are not a mapping, or one of them is not a number above 0.
    """
    if isinstance(given, Mapping):
        plain = {k: n.item() if hasattr(n, "item") else n for k, n in given.items()}
        if all(type(n) in (int, float) and 0 < n < math.inf for n in plain.values()):
            return plain
    hint = "map each parameter to a number above 0, such as {'period': 10}"
    raise QueryError(f"invalid defaults of {name}: {given!r:.80}", hint=hint)


def _outputs(name: str, given: Any) -> tuple[str, ...]:
    """Return the names of the outputs of a recipe that is registered.

    Raises:
        QueryError: They are not distinct names.
    """
    outputs = (*given,) if isinstance(given, Iterable) and not isinstance(given, str) else (None,)
    if len({o for o in outputs if o and isinstance(o, str)}) == len(outputs):
        return outputs
    hint = "list different names, such as ['upper', 'lower']"
    raise QueryError(f"invalid outputs of {name}: {given!r:.80}", hint=hint)


def parse_recipes(given: Any, anchor: Any = None) -> list[RecipeUse | ReportUse]:
    """Parse the recipes of a request; the same one twice counts once.

    Args:
        given: List of texts; one text with recipes separated by spaces; or the path of a YAML file
            with such a list under the key ``recipes``.
        anchor: Anchor for the anchored recipes that do not name one.

    Raises:
        QueryError: A recipe is invalid, or there is none.
        RulesError: The YAML file is invalid.
        StorageError: The YAML file cannot be read.
    """
    if isinstance(given, Path) or (isinstance(given, str) and given.endswith((".yaml", ".yml"))):
        given = _from_yaml(Path(given))
    items = given.split() if isinstance(given, str) else given
    if not isinstance(items, Sequence) or not items:
        raise QueryError(
            f"recipes must be a list of texts, not {given!r:.80}",
            hint="such as ['rsi:14', 'vol:20']",
        )
    uses = [parse_recipe(item, anchor) for item in items]
    return list({use.text: use for use in uses}.values())


def _from_yaml(path: Path) -> Any:
    from ..core.config.yaml_text import read_yaml
    from ..core.disk.files import Disk

    document = read_yaml(Disk().read(path))
    if document.problems:
        raise document.error(path.name, document.problems)
    return (document.value or {}).get("recipes")


def parse_recipe(text: Any, anchor: Any = None) -> RecipeUse | ReportUse:
    """Parse the text of a recipe, such as ``rsi:14``; for ``anchor`` see :func:`parse_recipes`.

    Raises:
        QueryError: The recipe is unknown, a parameter is invalid, its lead is too long, or an
            anchor is missing.
    """
    use = _parsed(text, anchor)
    if isinstance(use, RecipeUse):
        _check_lead(use)
    return use


def parse_watched(text: str) -> RecipeUse:
    """Parse the recipe that an alert watches, such as ``rsi:14``; ``rsi(14)`` is an older spelling.

    Raises:
        QueryError: The recipe is not one that alerts can watch, or a parameter is invalid or above 1,000.
    """
    plain = text.strip().lower()
    older = _OLDER_SHAPE.fullmatch(plain)
    name = re.split("[:(@]", plain)[0]
    names = sorted(name for name, recipe in RECIPES.items() if recipe.is_watchable)
    if name not in names:
        hint = f"{did_you_mean(name, names)}known: {', '.join(names)}; with a period: sma:50"
        raise QueryError(f"unknown indicator {text!r:.80}", hint=hint)
    use = _parsed(f"{older[1]}:{older[2]}" if older else plain)
    assert isinstance(use, RecipeUse)
    if use.timeframe is not None:
        hint = f"set the alert's own timeframe to {use.timeframe}"
        raise QueryError(f"an alert cannot watch {text!r:.80}", hint=hint)
    if max(use.parameters, default=0) > MOST_PERIOD:
        hint = f"it must be from 1 to {MOST_PERIOD}"
        raise QueryError(f"invalid period in {text!r:.80}", hint=hint)
    return use


def _parsed(text: Any, anchor: Any = None) -> RecipeUse | ReportUse:
    match = _SHAPE.fullmatch(text.strip()) if isinstance(text, str) else None
    if match is None:
        raise QueryError(
            f"invalid recipe {text!r:.80}",
            hint="write a name and its parameters, such as rsi:14 or rsi:14@1h",
        )
    words = [word.strip() for word in match[2].split(",")] if match[2] else []
    if match[1] == "fund" and match[3] is None:
        return parse_report(text, words)
    recipe = _recipe(match[1], text)
    use = RecipeUse(recipe, timeframe=Timeframe.parse(match[3]) if match[3] is not None else None)
    if recipe.kind == "anchored":
        name = _anchor(text, words, anchor)
        dates = {_SESSION: None, _LISTING: 0}
        since = dates[name] if name in dates else day_ms(date.fromisoformat(name))
        return replace(use, anchor=name, anchor_ms=since)
    if len(words) > len(recipe.defaults):
        known = ", ".join(recipe.defaults) or "none"
        raise QueryError(
            f"{text!r:.80} has too many parameters", hint=f"parameters of {recipe.name}: {known}"
        )
    given = dict(zip(recipe.defaults, words, strict=False))
    values = [_number(text, n, given.get(n), usual) for n, usual in recipe.defaults.items()]
    return replace(use, parameters=tuple(values))


def _recipe(name: str, text: str) -> Recipe:
    """Return the recipe of a name.

    Raises:
        QueryError: There is none; the message gives the nearest name.
    """
    if name in RECIPES:
        return RECIPES[name]
    talib = library("talib")
    if talib is not None and name.upper() in talib.get_functions():
        raise QueryError(
            f"not proved: {name} of TA-Lib is not among the recipes",
            hint="register_recipe adds it, with its lead; onetape docs features lists the recipes",
        )
    raise QueryError(
        f"unknown recipe {text!r:.80}",
        hint=f"{did_you_mean(name, RECIPES)}known: {', '.join(RECIPES)}",
    )


def _number(text: str, name: str, word: str | None, usual: float) -> float:
    """Return the value of a parameter.

    Raises:
        QueryError: It is not a number, not above 0, or not whole where it must be.
    """
    if word is None:
        return usual
    is_whole = isinstance(usual, int)
    try:
        value = int(word) if is_whole else float(word)
    except ValueError:
        value = math.nan
    if not 0 < value < _LARGEST:
        sort = "a whole number of at least 1" if is_whole else "a number above 0"
        ahead = _AHEAD if word.startswith("-") else ""
        hint = f"it must be {sort}, below {_LARGEST:,}{ahead}"
        raise QueryError(f"invalid {name} {word!r:.40} in {text!r:.80}", hint=hint)
    return value


def _check_lead(use: RecipeUse) -> None:
    """Check that the lead of a recipe is a number of bars, and short enough.

    Raises:
        QueryError: It is not a whole number, or is negative; or it is longer than 5,000 bars: the
            message gives the longest period that is served, if there is one.
    """
    lead: Any = use.lead
    is_whole = isinstance(lead, Integral) and not isinstance(lead, bool)
    if not is_whole or lead < 0 or (lead > MOST_LEAD and not use.parameters):
        ahead = _AHEAD if is_whole and lead < 0 else ""
        raise QueryError(
            f"the lead of {use.text!r:.80} is not a number of bars: {lead!r:.80}",
            hint=f"it must be a whole number from 0 to {MOST_LEAD:,}{ahead}",
        )
    if lead <= MOST_LEAD:
        return
    values = list(use.parameters)
    largest = values.index(max(values))

    def lead_with(value: int) -> int:
        """Return the lead with another value of the largest parameter."""
        return use.recipe.lead(*values[:largest], value, *values[largest + 1 :])

    periods = range(1, int(values[largest]))
    longest = bisect_right(periods, MOST_LEAD, key=lead_with)
    raise QueryError(
        f"{use.text!r:.80} needs {use.lead:,} bars before each value, more than {MOST_LEAD:,}",
        hint=f"the longest {list(use.recipe.defaults)[largest]} served is {longest:,}",
    )


def _anchor(text: str, words: Sequence[str], given: Any) -> str:
    """Return the anchor of a recipe: ``session``, ``listing`` or an ISO date.

    Raises:
        QueryError: No anchor is named, or it is something else.
    """
    anchor = words[0] if len(words) == 1 else None if words else given
    if anchor in (_SESSION, _LISTING):
        return str(anchor)
    try:
        return date.fromisoformat(str(anchor)).isoformat()
    except ValueError:
        problem = f"invalid anchor in {text!r:.80}" if words else f"{text!r:.80} needs an anchor"
        if given and not words:
            problem = f"invalid anchor {given!s:.40} for {text!r:.80}"
        raise QueryError(
            problem,
            hint="its value depends on where it begins: name session, listing or a date, as in vwap:session",
        ) from None
