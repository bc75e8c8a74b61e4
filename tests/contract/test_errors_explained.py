"""Every error class is drawn in the tree and explained, cause and remedy, in docs/errors.md."""

from __future__ import annotations

import ast
import re

from tests.contract.source import ROOT, Module, expect_none, module, modules

HEADING = re.compile(r"^### `(\w+)`$", re.MULTILINE)
PARTS = ("**Means:**", "**Cause:**", "**Remedy:**")
_KNOWN_BASES = ("Error", "Exception", "Warning")
_ERROR_CLASS = re.compile(rf"class\s[^:]*({'|'.join(_KNOWN_BASES)})\s*[,)]")


def _classes(source: Module) -> list[ast.ClassDef]:
    """Return the classes that may be errors by the names of their bases."""
    if not _ERROR_CLASS.search(source.text):
        return []
    return [node for node in source.nodes if isinstance(node, ast.ClassDef)]


def error_classes(source: Module) -> list[str]:
    """Return the public exception and warning classes that ``source`` defines.

    A ``BaseException`` is a signal for our own code and no error.
    """
    return [
        node.name
        for node in _classes(source)
        if not node.name.startswith("_")
        and any(ast.unparse(base).endswith(_KNOWN_BASES) for base in node.bases)
        and "BaseException" not in map(ast.unparse, node.bases)
    ]


def page_violations(text: str, names: set[str]) -> list[str]:
    """Return classes not explained, sections without a class, and sections that say too little."""
    sections = dict(zip(HEADING.findall(text), HEADING.split(text)[2::2], strict=True))
    found = [f"{name} is not explained" for name in sorted(names - sections.keys())]
    found += [f"{name} is explained and does not exist" for name in sorted(sections.keys() - names)]
    for name, body in sections.items():
        found += [f"{name} lacks {part}" for part in PARTS if part not in body]
    return found


def stray_violations(source: Module, known: set[str]) -> list[str]:
    """Return error classes outside ``errors`` that a catcher of the known ones would miss."""
    found, errors = [], error_classes(source)
    for node in _classes(source):
        if node.name in errors:
            bases = {ast.unparse(base).rsplit(".", 1)[-1] for base in node.bases}
            if not bases & known:
                found.append(f"{source.name}.{node.name} descends from none of our errors")
    return found


def test_every_error_is_explained() -> None:
    names = set(error_classes(module("errors")))
    assert len(names) > 20
    expect_none(page_violations((ROOT / "docs" / "errors.md").read_text("utf-8"), names))


def test_every_raised_error_belongs_to_the_error_tree() -> None:
    known = set(error_classes(module("errors")))
    expect_none([v for m in modules() if m.name != "errors" for v in stray_violations(m, known)])


def test_the_tree_in_the_docstring_is_whole() -> None:
    errors = module("errors")
    drawn = set(re.findall(r"\b\w+(?:Error|Warning)\b", ast.get_docstring(errors.tree) or ""))
    drawn -= {"ValueError", "RuntimeError"}
    assert drawn == set(error_classes(errors))


def test_errors_are_found_by_their_base() -> None:
    code = (
        "class A(ValueError): ...\nclass B(A_Error, X): ...\nclass C: ...\nclass _D(Exception): ..."
    )
    assert error_classes(Module("m", code)) == ["A", "B"]


def test_an_unexplained_error_is_refused() -> None:
    page = "### `A`\n**Means:** a **Cause:** b **Remedy:** c\n### `B`\n**Means:** a\n"
    assert page_violations(page, {"A", "C"}) == [
        "C is not explained",
        "B is explained and does not exist",
        "B lacks **Cause:**",
        "B lacks **Remedy:**",
    ]


def test_an_error_outside_the_tree_is_refused() -> None:
    assert stray_violations(Module("m", "class LostError(Exception): ..."), {"CacheError"}) != []
    assert stray_violations(Module("m", "class LostError(CacheError): ..."), {"CacheError"}) == []
