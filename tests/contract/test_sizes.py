"""Files, functions and the facade stay small enough to be read at once."""

from __future__ import annotations

import ast

import pytest

from tests.contract.source import Module, body_without_docstring, expect_none, functions, modules

FILE_LINES = 300
VENDOR_LINES = 150
FUNCTION_LINES = 40
FACADE_STATEMENTS = 5


def file_violations(source: Module) -> list[str]:
    limit = VENDOR_LINES if source.is_vendor else FILE_LINES
    lines = len(source.text.splitlines())
    return [f"{source.name} has {lines} lines, at most {limit}"] if lines > limit else []


def function_violations(source: Module) -> list[str]:
    """Return functions of more than forty lines, counted from ``def`` without the docstring."""
    found = []
    for function in functions(source.tree):
        docstring = function.body[0] if ast.get_docstring(function) is not None else None
        inside = 0 if docstring is None else (docstring.end_lineno or 0) - docstring.lineno + 1
        lines = (function.end_lineno or 0) - function.lineno + 1 - inside
        if lines > FUNCTION_LINES:
            found.append(
                f"{source.name}.{function.name} has {lines} lines, at most {FUNCTION_LINES}"
            )
    return found


def facade_violations(source: Module) -> list[str]:
    """Return what in the methods of a facade is more than a table of contents."""
    found = []
    for owner in (n for n in ast.walk(source.tree) if isinstance(n, ast.ClassDef)):
        for method in (n for n in owner.body if isinstance(n, ast.FunctionDef)):
            where = f"{source.name}.{owner.name}.{method.name}"
            statements = [
                node
                for statement in body_without_docstring(method)
                for node in ast.walk(statement)
                if isinstance(node, ast.stmt)
            ]
            if len(statements) > FACADE_STATEMENTS:
                found.append(
                    f"{where} has {len(statements)} statements, at most {FACADE_STATEMENTS}"
                )
            found += [f"{where} {what}" for what in map(_too_much, statements) if what]
    return found


def _too_much(statement: ast.stmt) -> str:
    if isinstance(statement, ast.Try | ast.TryStar):
        return "handles errors itself"
    if isinstance(statement, ast.For | ast.While):
        return "loops"
    names = {node.id for node in ast.walk(statement) if isinstance(node, ast.Name)}
    if names & {"pd", "np", "pandas", "numpy"}:
        return "computes on frames"
    if isinstance(statement, ast.If) and "provider" in {
        node.id for node in ast.walk(statement.test) if isinstance(node, ast.Name)
    }:
        return "branches on the provider"
    return ""


def test_files_are_short() -> None:
    expect_none([v for m in modules() for v in file_violations(m)])


def test_functions_are_short() -> None:
    expect_none([v for m in modules() for v in function_violations(m)])


def test_the_facade_is_a_table_of_contents() -> None:
    facades = [m for m in modules() if m.name in ("data_manager", "beyond_bars")]
    assert len(facades) == 2, "a half of the facade does not exist"
    expect_none([v for facade in facades for v in facade_violations(facade)])


def test_long_files_are_refused() -> None:
    assert file_violations(Module("cache.store", "x = 1\n" * 301)) != []
    assert file_violations(Module("cache.store", "x = 1\n" * 300)) == []
    assert file_violations(Module("downloader.a_data_downloader", "x = 1\n" * 151)) != []
    assert file_violations(Module("downloader.base_data_downloader", "x = 1\n" * 151)) == []


def test_long_functions_are_refused() -> None:
    body = "    x = 1\n"
    docstring = '    """Say.\n\n' + "    more\n" * 30 + '    """\n'
    assert function_violations(Module("m", "def f():\n" + body * 40)) != []
    assert function_violations(Module("m", "def f():\n" + docstring + body * 39)) == []
    assert function_violations(Module("m", "class C:\n def f(self):\n" + "  x = 1\n" * 40)) != []


@pytest.mark.parametrize(
    "body",
    [
        "a = 1; b = 2; c = 3; d = 4; e = 5; return a",
        "try:\n   return 1\n  finally:\n   x()",
        "for a in b: c(a)",
        "while True: c()",
        "return pd.DataFrame()",
        "if provider == 'x': return 1",
    ],
)
def test_a_thick_facade_is_refused(body: str) -> None:
    assert facade_violations(Module("data_manager", f"class D:\n def m(self):\n  {body}\n")) != []


def test_a_thin_facade_passes() -> None:
    code = 'class D:\n def m(self) -> int:\n  """Say."""\n  q = self.q(1)\n  return self.b.get(q)\n'
    assert facade_violations(Module("data_manager", code)) == []
