"""No ring grows: ``weight.json`` has the largest sum of code lines for each, and the folders of B and C.

All other folders are in ring A. Vendors' own folders, their rows in the registry, and the imports that
``make lists`` writes are in none.
"""

from __future__ import annotations

import json
import shutil
import subprocess
from collections import Counter
from collections.abc import Mapping
from pathlib import Path

import pytest

from tests.contract.public_types import imports_of
from tests.contract.source import ROOT, Module
from tests.contract.way import code_lines, public_lines, ring_of, rows_of_vendors, weight

_LIMITS = json.loads(Path(__file__).with_name("weight.json").read_text("utf-8"))
_PACKAGE, _DOOR = "src/data/", "onetape/"
_NO_LINES: Mapping[str, int] = {}


def faults(
    counted: Mapping[str, int],
    maxima: Mapping[str, int],
    rings: Mapping[str, str],
    grown: Mapping[str, int] = _NO_LINES,
) -> list[str]:
    """Return a sentence for each ring above its maximum, and for each folder that no longer exists.

    The sentence names the three files of the ring with the most new lines, of those in ``grown``.
    """
    sums = Counter[str]()
    for folder, lines in counted.items():
        if folder != "vendors' folders":
            sums[rings.get(folder, "A")] += lines
    found = []
    for ring, most in maxima.items():
        files = [f"{path} +{n}" for path, n in Counter(grown).most_common() if _ring(path) == ring]
        since = f"; most lines since git's HEAD: {', '.join(files[:3])}" if files else ""
        if sums[ring] > most:
            found.append(
                f"ring {ring} has {sums[ring]} code lines, allowed are {most}: shorten it, or raise "
                f"the maximum (CONTRIBUTING.md, house rule 10){since}"
            )
    return found + [f"{folder} does not exist" for folder in rings if folder not in counted]


def _ring(path: str) -> str:
    """Return the ring of a file; empty if its lines are free."""
    if path.startswith(_DOOR):
        return "B"
    module = _module(path, "")
    return "" if module.is_vendor else ring_of(module)


def _module(path: str, text: str) -> Module:
    name = path.removeprefix(_PACKAGE).removesuffix(".py").replace("/", ".")
    return Module(name.removesuffix(".__init__"), text, name.endswith("__init__"))


def _lines_that_count(path: str, text: str) -> int:
    """Return the number of code lines of a file with this text, without those that are free."""
    if path.startswith(_DOOR):
        return public_lines(text)
    module = _module(path, text)
    return len(code_lines(module) - rows_of_vendors(module))


def _git(root: Path, *words: str) -> str:
    """Return what git prints, or nothing if it fails, as in a source archive."""
    try:
        done = subprocess.run(["git", *words], cwd=root, capture_output=True, check=True)
    except (OSError, subprocess.CalledProcessError):
        return ""
    return done.stdout.decode()


def grown_files(root: Path) -> dict[str, int]:
    """Return the new lines that count of each file of the package that has more than in git's HEAD."""
    where = ("--", _PACKAGE, _DOOR)
    names = _git(root, "diff", "--name-only", "--diff-filter=d", "HEAD", *where)
    names += _git(root, "ls-files", "--others", "--exclude-standard", *where)
    grown = {}
    for path in filter(lambda name: name.endswith(".py"), names.splitlines()):
        texts = (root / path).read_text("utf-8"), _git(root, "show", f"HEAD:{path}")
        new, old = (_lines_that_count(path, text) for text in texts)
        grown |= {path: new - old} if new > old else {}
    return grown


def test_no_ring_has_more_code_lines_than_its_maximum() -> None:
    counted, *limits = weight(), _LIMITS["maxima"], _LIMITS["rings"]
    if faults(counted, *limits):
        assert faults(counted, *limits, grown_files(ROOT)) == []


def test_a_ring_above_its_maximum_is_named_and_one_below_it_is_not() -> None:
    rings = {"jobs": "B", "yf": "C"}
    counted = {"bars": 60, "net": 40, "jobs": 7, "yf": 3, "vendors' folders": 1000}
    assert faults(counted, {"A": 100, "B": 8, "C": 3}, rings) == []
    how = ": shorten it, or raise the maximum (CONTRIBUTING.md, house rule 10)"
    assert faults(counted, {"A": 99, "B": 6, "C": 3}, {**rings, "gone": "B"}) == [
        f"ring A has 100 code lines, allowed are 99{how}",
        f"ring B has 7 code lines, allowed are 6{how}",
        "gone does not exist",
    ]


def test_a_ring_above_its_maximum_names_the_three_files_that_grew_most() -> None:
    files = {"core/bars/a.py": 3, "core/bars/b.py": 9, "core/net/c.py": 1, "core/net/d.py": 4}
    others = {"jobs/run/runner.py": 50, "core/vendors/binance/bars.py": 60}
    grown = {f"src/data/{path}": n for path, n in (files | others).items()} | {"onetape/a.py": 70}
    (fault,) = faults({"bars": 2}, {"A": 1}, {}, grown)
    assert fault.endswith(
        "most lines since git's HEAD: src/data/core/bars/b.py +9, src/data/core/net/d.py +4, "
        "src/data/core/bars/a.py +3"
    )
    (fault,) = faults({"jobs": 2}, {"B": 1}, {"jobs": "B"}, grown)
    assert fault.endswith("HEAD: onetape/a.py +70, src/data/jobs/run/runner.py +50")


@pytest.mark.skipif(shutil.which("git") is None, reason="git is not installed")
def test_new_and_longer_files_are_compared_with_the_last_commit(tmp_path: Path) -> None:
    assert grown_files(tmp_path) == {}, "not a checkout"
    folder = tmp_path / "src" / "data"
    folder.mkdir(parents=True)
    for name in ("longer", "shorter", "staged", "deleted"):
        (folder / f"{name}.py").write_text("a = 1\nb = 2\n")
    user = ("-c", "user.name=a", "-c", "user.email=a@b.c", "-c", "commit.gpgsign=false")
    for words in (("init", "-q"), ("add", "."), (*user, "commit", "-q", "-m", "first")):
        subprocess.run(["git", *words], cwd=tmp_path, check=True)
    assert grown_files(tmp_path) == {}
    (folder / "longer.py").write_text('"""Text."""\n\na = 1\nb = 2\nc = 3\n')
    (folder / "shorter.py").write_text("a = 1\n")
    (folder / "staged.py").write_text("a = 1\nb = 2\nc = 3\nd = 4\n")
    (folder / "deleted.py").unlink()
    (folder / "new.py").write_text("# Text.\na = 1\nb = 2\nc = 3\n")
    subprocess.run(["git", "add", "src/data/staged.py"], cwd=tmp_path, check=True)
    of_names = {"longer": 1, "staged": 2, "new": 3}
    assert grown_files(tmp_path) == {f"src/data/{name}.py": n for name, n in of_names.items()}


@pytest.mark.skipif(shutil.which("git") is None, reason="git is not installed")
def test_a_file_whose_new_lines_are_free_has_not_grown(tmp_path: Path) -> None:
    registry, door = tmp_path / "src/data/core/registry.py", tmp_path / "onetape/vendors.py"
    for path in (registry, door):
        path.parent.mkdir(parents=True)
    row = '    "acme": VendorRow(\n        bars="acme.bars:Acme",\n    ),\n'
    registry.write_text(f"VENDORS = {{\n{row}}}\n")
    door.write_text((ROOT / "onetape" / "vendors.py").read_text("utf-8"))
    subprocess.run(["git", "init", "-q"], cwd=tmp_path, check=True)
    assert grown_files(tmp_path) == {
        "src/data/core/registry.py": 2,
        "onetape/vendors.py": public_lines(door.read_text("utf-8")),
    }


def test_the_row_of_a_vendor_in_the_registry_is_free() -> None:
    text = 'VENDORS = {\n    "acme": VendorRow(\n        bars="acme.bars:Acme",\n    ),\n}\n'
    registry = Module("core.registry", text)
    assert code_lines(registry) - rows_of_vendors(registry) == {1, 5}
    assert rows_of_vendors(Module("core.members", text)) == set()


def test_an_import_that_make_lists_writes_is_free_and_one_outside_is_not() -> None:
    text, made = (ROOT / "onetape" / "vendors.py").read_text("utf-8"), imports_of("onetape.vendors")
    one = "    from .data.core.vendors.acme.bars import Acme as Acme\n"
    long = one.replace("Acme as Acme", "(\n        Acme as Acme,\n    )")
    assert public_lines(text.replace(made, made + one + long)) == public_lines(text)
    assert public_lines(text.replace("\nelse:\n", f"\nelse:\n{one}")) == public_lines(text) + 1
    assert public_lines(text.replace("\nif T", f"\n{one.strip()}\nif T")) == public_lines(text) + 1
    assert public_lines(text) < made.count("\n")
