"""References in docstrings, and paths of modules in backticks, name things that exist."""

from __future__ import annotations

import ast
import builtins
import re
from collections import defaultdict
from collections.abc import Iterator
from functools import cache

from tests.contract.source import PACKAGE, Function, Module, expect_none, modules

_ROLE = re.compile(r":(?:mod|class|func|meth|data|attr|exc|obj):`(?:[^`<]*<)?[~!]?([^`<>]+)>?`")
_PATH = re.compile(r"(?<!:)`{1,2}((?:\w+/)*\w+\.py)`{1,2}")
_FOLDERS = "|".join(sorted(p.name for p in PACKAGE.iterdir() if (p / "__init__.py").is_file()))
_DOTTED = re.compile(rf"(?<!:)`{{1,2}}((?:(?:onetape|src)\.data|{_FOLDERS})(?:\.[a-z_]+)+)`{{1,2}}")
_OURS = re.compile(r"(?:onetape|src)\.data\.?")


def _defined(node: ast.AST) -> Iterator[str]:
    """Yield the names that the statements of a module, class or function define."""
    for one in ast.iter_child_nodes(node):
        if isinstance(one, ast.ClassDef | Function):
            yield one.name
        elif isinstance(one, ast.Assign | ast.AnnAssign):
            targets = one.targets if isinstance(one, ast.Assign) else [one.target]
            parts = (part for target in targets for part in ast.walk(target))
            yield from (part.id for part in parts if isinstance(part, ast.Name))
        elif isinstance(one, ast.Import | ast.ImportFrom):
            yield from (alias.asname or alias.name for alias in one.names)
        elif isinstance(one, ast.If | ast.Try | ast.ExceptHandler | ast.With):
            yield from _defined(one)


@cache
def _members() -> dict[str, set[str]]:
    """Return what each class has, by its name, with what its bases have."""
    found, bases = defaultdict[str, set[str]](set), defaultdict[str, set[str]](set)
    for node in (node for source in modules() for node in source.nodes):
        if isinstance(node, ast.ClassDef):
            own = (part for part in ast.walk(node) if isinstance(part, ast.Attribute))
            found[node.name] |= {*_defined(node), *(part.attr for part in own if _is_self(part))}
            plain = (base.value if isinstance(base, ast.Subscript) else base for base in node.bases)
            bases[node.name] |= {str(getattr(base, "id", "")) for base in plain}
    for _ in range(5):  # bases of bases
        for name, above in bases.items():
            found[name].update(*(found[base] for base in above & bases.keys()))
    return found


def _is_self(node: ast.Attribute) -> bool:
    return isinstance(node.value, ast.Name) and node.value.id == "self"


@cache
def _index() -> frozenset[str]:
    """Return the dotted name of each module, and of what it and its classes have."""
    found = set[str]()
    for source in modules():
        own = [*_defined(source.tree)]
        found |= {source.name, *(f"{source.name}.{name}".lstrip(".") for name in own)}
        for node in source.nodes:
            if isinstance(node, ast.ClassDef):
                found |= {f"{source.name}.{node.name}.{name}" for name in _members()[node.name]}
    return frozenset(found)


# No modules: a key of the rules, and the file of older installations.
_OTHERS = {"jobs.timeout_s", "config/donotshare/donotshare.py"}


@cache
def _ends() -> frozenset[str]:
    """Return each end of a name of the index that begins at a dot."""
    parts = [name.split(".") for name in _index()]
    return frozenset(".".join(one[n:]) for one in parts for n in range(len(one)))


def _exists(source: Module, target: str) -> bool:
    """Return whether a reference from a module names something."""
    dots = len(target) - len(target.lstrip("."))
    if dots == 1:
        return target[1:] in _ends()  # as Sphinx does
    if dots:
        return source.resolve(dots, target[dots:]) in _index()
    if (ours := _OURS.match(target)) or target.startswith("onetape"):
        return target[ours.end() :] in _index() if ours else _is_public(target)
    first, _, rest = target.partition(".")
    scope = {*_defined(source.tree)}
    classes = [node.name for node in source.nodes if isinstance(node, ast.ClassDef)]
    if rest:
        return target in _index() or (first in scope | {*classes} and rest in _members()[first])
    local = (_defined(node) for node in source.nodes if isinstance(node, Function))
    return (
        first in scope
        or first in dir(builtins)
        or any(first in _members()[name] for name in classes)
        or any(first in names for names in map(set, local))
    )


def _is_public(target: str) -> bool:
    from onetape.public import PUBLIC, homes_of

    module, _, name = target.rpartition(".")
    holder = module.rpartition(".")[2]
    return (
        target in PUBLIC
        or (module in PUBLIC and name in homes_of(module))
        or (_is_public(module) and name in _members()[holder])
    )


def faults(source: Module) -> Iterator[str]:
    """Yield a sentence for each reference in a module that names nothing."""
    place = f"src/data/{source.name.replace('.', '/')}"
    folder = PACKAGE.joinpath(*source.name.split(".")[: None if source.is_package else -1])
    for number, line in enumerate(source.text.split("\n"), 1):
        for target in _ROLE.findall(line):
            if not _exists(source, target.removesuffix("()")):
                yield f"{place}:{number}: {target} does not exist"
        for path in {*_PATH.findall(line)} - _OTHERS:
            if not any((top / path).is_file() for top in (folder, *folder.parents)):
                yield f"{place}:{number}: {path} does not exist"
        for name in {*_DOTTED.findall(line)} - _OTHERS:
            if _OURS.sub("", name) not in _index():
                yield f"{place}:{number}: {name} does not exist"


def test_each_reference_names_something_that_exists() -> None:
    expect_none([fault for source in modules() for fault in faults(source)])


def test_a_reference_to_what_has_moved_is_named_and_others_are_not() -> None:
    text = (
        '"""See :mod:`..acceptances`, ``read/series_reader.py`` and ``core.cache.store``.\n'
        ":class:`~.unified_cache.UnifiedCache` :meth:`.BarStore.tail` :meth:`BarStore.commit` :func:`len`\n"
        ":class:`~.cache.unified_cache.UnifiedCache` :meth:`.BarStore.tale` :meth:`BarStore.tails`\n"
        ":mod:`...moved` ``read/moved.py`` ``core.moved`` :func:`moved`\n"
        ':meth:`onetape.DataManager.at` :meth:`~onetape.DataManager.attt` :class:`onetape.Manager`"""\n'
        "from .store import BarStore\n"
    )
    found = list(faults(Module("core.cache.acme", text)))
    assert [fault.split(":")[1] for fault in found] == [
        "1",
        *["3"] * 3,
        *["4"] * 4,
        *["5"] * 2,
    ]
    assert "..acceptances" in found[0] and ".BarStore.tale" in found[2]
