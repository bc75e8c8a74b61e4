"""Integers have 64 bits on every system: a time in milliseconds needs 41 of them.

On Windows, numpy 1 gives integers without a type 32 bits, and their products wrap around in silence.
"""

from __future__ import annotations

import ast
from collections.abc import Iterable

from tests.contract.source import Module, expect_none, modules

# Arrays of coordinates in pictures, which are made of arrays of floats.
_PICTURES = "show."
_DISPLAYS = (ast.List, ast.ListComp, ast.Tuple, ast.GeneratorExp)


def untyped_integers(module: Module) -> Iterable[str]:
    """Yield the calls that leave to the system how many bits an integer has."""
    if "np." not in module.text or module.name.startswith(_PICTURES):
        return
    for node in module.nodes:
        if not isinstance(node, ast.Call) or not isinstance(node.func, ast.Attribute):
            continue
        name, given = node.func.attr, {one.arg: one.value for one in node.keywords}
        types = (
            [*node.args[:1]] if name == "astype" else [given["dtype"]] if "dtype" in given else []
        )
        if any(isinstance(one, ast.Name) and one.id == "int" for one in types):
            yield f"{module.name}:{node.lineno}: write np.int64, not int"
        if not (isinstance(node.func.value, ast.Name) and node.func.value.id == "np"):
            continue
        is_display = name in ("array", "asarray") and isinstance(node.args[0], _DISPLAYS)
        is_untyped = "dtype" not in given and (
            name == "arange" or (is_display and len(node.args) < 2)
        )
        if is_untyped:
            yield f"{module.name}:{node.lineno}: np.{name} without a dtype"


def test_every_integer_has_64_bits() -> None:
    expect_none([found for module in modules() for found in untyped_integers(module)])


def test_untyped_integers_are_noticed() -> None:
    text = (
        "import numpy as np\n"
        "a = np.arange(3) * 1\n"
        "b = np.array([1, 2])\n"
        "c = np.zeros(3, dtype=int)\n"
        "d = c.astype(int)\n"
        "e = np.arange(3, dtype=np.int64), np.array([1, 2], np.int64), np.array(a), c.astype(np.int64)\n"
    )
    found = [one.split(":")[1] for one in untyped_integers(Module("core.x", text))]
    assert sorted(found) == ["2", "3", "4", "5"]
