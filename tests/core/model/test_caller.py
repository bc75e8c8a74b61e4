"""Warnings point at the line that called the library, from any depth and any thread of it."""

from __future__ import annotations

import warnings
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from typing import Any

import pytest

from src.data.core.model.words.caller import called_from, warn_user
from src.data.core.observability.logs import carried, following


def inside(module: str, call: Callable[[], Any]) -> Callable[[], Any]:
    """Return a function of a module of that name that does nothing but make the call."""
    names: dict[str, Any] = {"call": call, "__name__": module}
    exec(compile("def function(): return call()", f"{module}.py", "exec"), names)
    function: Callable[[], Any] = names["function"]
    return function


def warned(act: Callable[[], Any]) -> list[str]:
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        act()
    return [warning.filename for warning in caught]


@pytest.mark.parametrize(
    "module", ["onetape.data", "onetape.data.core.bars.service", "onetape", "onetape.aio"]
)
def test_a_warning_never_points_at_a_module_of_ours(module: str) -> None:
    assert warned(inside(module, partial(warn_user, "said"))) == [__file__]


@pytest.mark.parametrize("module", ["src.data", "onetapes", "onetape_bot", "__main__"])
def test_a_program_whose_name_begins_like_ours_is_a_caller(module: str) -> None:
    ours = inside(
        "onetape.data.core.model", inside("onetape.data.core.bars", partial(warn_user, "said"))
    )
    assert warned(inside(module, ours)) == [f"{module}.py"]


def test_a_thread_of_ours_warns_at_the_line_that_it_works_for() -> None:
    def ask(number: int) -> str:
        warn_user(f"said {number}")
        return called_from().filename

    with ThreadPoolExecutor(1) as pool:
        assert warned(lambda: list(pool.map(carried(ask), [1, 2]))) == [__file__, __file__]
        assert warned(lambda: list(pool.map(following(ask), [3]))) == [__file__]
        # Of another thread it is not known.
        assert pool.submit(called_from).result().filename != __file__


def test_a_warning_is_given_once_for_each_calling_line() -> None:
    with warnings.catch_warnings(record=True) as caught:
        warnings.resetwarnings()
        warnings.simplefilter("default")
        for _ in range(3):
            warn_user("the same line")
        warn_user("the same line")
    assert len({warning.lineno for warning in caught}) == len(caught) == 2


def test_control_characters_are_written_out() -> None:
    with pytest.warns(UserWarning, match=r"red \\x1b\[31m"):
        warn_user("red \x1b[31m")
