"""What users import says what it does; everything that is not private says its types.

The names that a module lists in ``__all__`` are what users import; those of the package root are
judged where they are defined.
"""

from __future__ import annotations

import ast
import re
from collections.abc import Iterator
from functools import cache

import pytest

import src.data
from tests.contract.source import Module, expect_none, modules

Definition = ast.FunctionDef | ast.AsyncFunctionDef | ast.ClassDef
# First lines that repeat the name and say nothing.
EMPTY_WORDS = re.compile(r"^(initiali[sz]e|the|a|an)\s+(the\s+)?(class|object|instance)\b", re.I)


def public(source: Module) -> Iterator[tuple[str, Definition]]:
    """Yield what users and other modules may touch, with its dotted name."""

    def walk(body: list[ast.stmt], prefix: str) -> Iterator[tuple[str, Definition]]:
        for node in body:
            if isinstance(node, ast.If | ast.Try):
                yield from walk(node.body + node.orelse, prefix)
            if not isinstance(node, Definition) or node.name.startswith("_"):
                continue
            if _is_decorated(node, "overload"):
                continue
            name = f"{prefix}.{node.name}"
            yield name, node
            if isinstance(node, ast.ClassDef):
                yield from walk(node.body, name)

    if not source.name.rsplit(".", 1)[-1].startswith("_"):
        yield from walk(source.tree.body, source.name)


def _is_decorated(node: Definition, word: str) -> bool:
    """Whether a decorator is named so, or is an attribute that is."""
    return any(
        word in (getattr(d, "id", None), getattr(d, "attr", None)) for d in node.decorator_list
    )


@cache
def _exported() -> frozenset[tuple[str, str]]:
    """Return the module and the name of each object of the package root."""
    each = (getattr(src.data, name) for name in src.data.__all__ if name != "__version__")
    return frozenset((one.__module__, one.__name__) for one in each)


def _listed(source: Module) -> set[str]:
    """Return the names that users import from ``source``."""
    names = {name for home, name in _exported() if home == f"onetape.data.{source.name}"}
    for node in source.tree.body:
        target = node.targets[0] if isinstance(node, ast.Assign) else None
        if isinstance(node, ast.Assign) and getattr(target, "id", None) == "__all__":
            names |= set(ast.literal_eval(node.value))
    return names


def docstring_violations(source: Module) -> list[str]:
    """Return what users import without a docstring, or with one that says nothing."""
    found = []
    if not ast.get_docstring(source.tree):
        found.append(f"{source.name or 'the package root'} has no docstring")
    listed = _listed(source)
    for name, node in public(source):
        if name.removeprefix(f"{source.name}.").split(".")[0] not in listed:
            continue
        text = ast.get_docstring(node) or ""
        first = text.split("\n", 1)[0]
        if _is_decorated(node, "setter"):
            continue
        if not text:
            found.append(f"{name}:{node.lineno} has no docstring")
        elif EMPTY_WORDS.match(first):
            found.append(f"{name}:{node.lineno} says nothing with {first!r}")
    return found


def hint_violations(source: Module) -> list[str]:
    """Return public functions and constructors with a parameter or a result without type."""
    found = []
    for name, node in public(source):
        if isinstance(node, ast.ClassDef):
            constructors = (n for n in node.body if getattr(n, "name", "") == "__init__")
            for constructor in constructors:
                assert isinstance(constructor, ast.FunctionDef)
                found += _untyped(f"{name}.__init__", constructor)
        else:
            found += _untyped(name, node)
    return found


def _untyped(name: str, node: ast.FunctionDef | ast.AsyncFunctionDef) -> list[str]:
    arguments = node.args
    everything = [*arguments.posonlyargs, *arguments.args, *arguments.kwonlyargs]
    everything += [a for a in (arguments.vararg, arguments.kwarg) if a is not None]
    bare = [a.arg for a in everything if a.annotation is None and a.arg not in ("self", "cls")]
    if node.returns is None:
        bare.append("return")
    return [f"{name}:{node.lineno} has no type for {', '.join(bare)}"] if bare else []


def test_everything_public_is_explained() -> None:
    expect_none([v for m in modules() for v in docstring_violations(m)])


def test_everything_public_is_typed() -> None:
    expect_none([v for m in modules() for v in hint_violations(m)])


@pytest.mark.parametrize(
    "code",
    [
        "x = 1",
        '"""Doc it."""\n__all__ = ["f"]\ndef f(): ...',
        '"""Doc it."""\n__all__ = ("C",)\nclass C: ...',
        '"""Doc it."""\n__all__ = ["C"]\nclass C:\n """Hold things."""\n def m(self): ...',
        '"""Doc it."""\n__all__ = ["C"]\nclass C:\n """Initialize the class."""',
        '"""Doc it."""\n__all__ = ["f"]\nif True:\n def f(): ...',
    ],
)
def test_a_missing_or_empty_docstring_is_a_violation(code: str) -> None:
    assert len(docstring_violations(Module("m", code))) == 1


@pytest.mark.parametrize(
    "code",
    [
        "def f(a: int): ...",
        "def f(a) -> int: ...",
        "def f(*, a) -> int: ...",
        "def f(*a) -> int: ...",
        "class C:\n def m(self, a: int): ...",
        "class C:\n def __init__(self, a) -> None: ...",
    ],
)
def test_missing_types_are_refused(code: str) -> None:
    assert len(hint_violations(Module("m", code))) == 1


def test_private_things_may_be_silent() -> None:
    code = '"""Doc it."""\n__all__ = ["f"]\ndef _f(a): ...\nclass _C:\n def m(self): ...'
    assert docstring_violations(Module("m", code)) == hint_violations(Module("m", code)) == []
