"""Calls of functions that a program has registered as recipes, and the checks of what they return."""

from __future__ import annotations

from collections.abc import Mapping
from functools import partial
from typing import TYPE_CHECKING, Any

import numpy as np
import pandas as pd

from ..core.interface import run_foreign
from ..core.model.answer.frame import NS_IN_MS
from ..core.model.market.bars import Stamps
from ..errors import FeatureError
from .rolling import Values

if TYPE_CHECKING:
    from .recipes import RecipeUse

__all__ = ["call_own"]

# Two values that differ by less than this fraction count as equal: sums in another order differ in
# their last digits.
_NEAR = 1e-9


def call_own(use: RecipeUse, columns: Mapping[str, Values], stamps: Stamps) -> tuple[Values, ...]:
    """Return the outputs of a registered recipe for one run of bars.

    The function is called again on the first half of the bars, whose values must be the same.

    Raises:
        FeatureError: The function looks ahead, changes its frame, or returns other rows.
        ForeignError: The function raised an error.
        ProviderTimeoutError: The function did not return in time.
    """
    index = pd.DatetimeIndex(stamps * NS_IN_MS, name="timestamp")
    frame = pd.DataFrame(dict(columns), index=index)
    name = f"recipe {use.text}"

    def function(frame: pd.DataFrame) -> Any:
        """Call the function with the parameters of the recipe."""
        return use.recipe.function(frame, *use.parameters)

    found = call_function(function, frame, name)
    if found.shape[1] != len(use.names):
        raise FeatureError(
            f"{name} returned {found.shape[1]} outputs, and is registered with {len(use.names)}"
        )
    if half := len(frame) // 2:
        again = call_function(function, frame.iloc[:half], name)
        far = ~np.isclose(found[:half], again, rtol=_NEAR, atol=0, equal_nan=True)
        if far.any():
            time = index[int(far.any(axis=1).argmax())]
            raise FeatureError(
                f"{name} looks ahead: its value for {time} changes if later bars are left out",
                hint="use only that bar and those before it: no shift(-1), no mean() of the whole column",
            )
    return tuple(np.ascontiguousarray(column) for column in found.T)


def call_function(function: Any, frame: pd.DataFrame, name: str) -> Values:
    """Call a function of a program on a copy of a frame; return its outputs as float64 columns.

    Args:
        function: Returns a series, a frame or an array with a row for each row of the frame.
        frame: Bars; it never changes.
        name: Subject of error messages.

    Returns:
        Array of shape (rows, outputs).

    Raises:
        FeatureError: The function changed its frame, or returned other rows or something else than
            numbers.
        ForeignError: The function raised an error.
        ProviderTimeoutError: The function did not return within the time of the call.
    """
    given = frame.copy(deep=True)
    result = run_foreign(partial(function, given), name)
    if not given.equals(frame) or not given.index.equals(frame.index):
        raise FeatureError(
            f"{name} changed its frame", hint="copy the frame before you add columns"
        )
    is_framed = isinstance(result, pd.Series | pd.DataFrame)
    other = "" if not is_framed or result.index.equals(frame.index) else " with another index"
    try:
        if np.iscomplexobj(result):
            raise TypeError("complex numbers")
        values = np.asarray(result, dtype=np.float64)
    except (TypeError, ValueError) as error:
        raise FeatureError(f"{name} returned {type(result).__name__}, not numbers") from error
    if other or values.ndim not in (1, 2) or len(values) != len(frame):
        raise FeatureError(
            f"{name} returned values of shape {values.shape}{other} for {len(frame)} bars",
            hint="return one row for each bar, with NaN where there is no value",
        )
    return values.reshape(len(frame), -1)
