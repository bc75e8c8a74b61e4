"""The lists of tests name tests that exist; `make test` leaves out cases, and never all of a test."""

from __future__ import annotations

import re
import subprocess
from collections import Counter
from functools import cache
from pathlib import Path
from types import SimpleNamespace

import pytest

from tests import thinned
from tests.conformance.sheet import examined
from tests.core.cache.counts import FULL

ROOT = Path(__file__).parents[2]
_ALONE = SimpleNamespace(params={})


@cache
def names_in(file: str) -> frozenset[str]:
    names, inside = set(), ""
    for kind, name in re.findall(r"^(class|def|    def) (\w+)", (ROOT / file).read_text(), re.M):
        inside = f"{name}::" if kind == "class" else inside * kind.startswith(" ")
        names.add(f"{inside}{name}" if kind != "class" else name)
    return frozenset(names)


def exists(nodeid: str) -> bool:
    file, _, test = nodeid.partition("[")[0].partition("::")
    return test in names_in(file)


def test_each_thinned_test_exists() -> None:
    for table in (thinned.VENDORS, thinned.VALUES):
        for file, tests in table.items():
            assert set(tests) <= names_in(file), file
    assert not [name for name in thinned.LEFT_OUT if not exists(name)]


def test_each_test_of_a_promise_exists() -> None:
    lines = (ROOT / "tests" / "rows.tsv").read_text("utf-8").splitlines()
    fields = [line.split("\t") for line in lines]
    assert [line for line in fields if len(line) != 3 or not exists(line[1])] == []


def test_a_test_only_in_full_runs_is_a_control_or_fails_with_another_test() -> None:
    for other in set(thinned.LEFT_OUT.values()) - {thinned.CONTROL}:
        assert exists(other) and not thinned.is_left_out(other), other


@pytest.mark.parametrize("file", sorted(thinned.BOTH_ENGINES))
def test_a_file_with_both_engines_exists(file: str) -> None:
    assert (ROOT / file).is_file()


def test_the_cases_taken_are_spread_over_both_axes_and_differ_between_tests() -> None:
    for name in ("a", "b", "c"):
        chosen = thinned.taken(12, 3, name)
        assert len(chosen) == 3 and chosen < set(range(12))
        assert {n % 2 for n in chosen} == {0, 1}, "an equal distance would hold one value only"
        assert max(chosen) - min(chosen) > 4
    assert len({frozenset(thinned.taken(13, 3, f"{n}")) for n in range(20)}) > 5
    assert thinned.taken(2, 3, "a") == {0, 1}


def test_a_new_case_of_another_test_is_never_left_out() -> None:
    file, tests = next(iter(thinned.VENDORS.items()))
    test, kept = next(iter(tests.items()))
    chosen = thinned.chosen(f"{file}::{test}", [{"vendor": f"{n}"} for n in range(kept + 5)])
    assert len(chosen) == kept and set(chosen) < set(range(kept + 5)) and chosen == sorted(chosen)
    assert thinned.chosen(f"{file}::test_other", [{"n": n} for n in range(9)]) == list(range(9))


def test_all_cases_of_a_new_vendor_run_and_those_of_the_others_stay_as_they_are() -> None:
    known = [{"vendor": vendor, "check": n} for n in range(5) for vendor in sorted(thinned.KNOWN)]
    new = [{"vendor": "tidewater", "check": n} for n in range(5)]
    for file in (file for file in thinned.VENDORS if file.startswith("tests/conformance/")):
        for test in thinned.VENDORS[file]:
            name = f"{file}::{test}"
            before = [known[n] for n in thinned.chosen(name, known)]
            mixed = [*new[:2], *known, *new[2:]]
            after = [mixed[n] for n in thinned.chosen(name, mixed)]
            assert [one for one in after if one in new] == new, name
            assert [one for one in after if one not in new] == before, name
    assert set(examined()) >= thinned.KNOWN


def test_a_test_or_a_single_case_is_left_out(monkeypatch: pytest.MonkeyPatch) -> None:
    whole, one = "tests/test_a.py::test_it", "tests/test_a.py::test_cases[2-every]"
    monkeypatch.setattr(
        thinned, "LEFT_OUT", {whole: thinned.CONTROL, one: "tests/test_b.py::test_c"}
    )
    assert thinned.chosen(whole, [{"n": n} for n in range(3)]) == []
    assert thinned.is_left_out(whole) and thinned.is_left_out(f"{whole}[2-every]")
    assert thinned.is_left_out(one) and not thinned.is_left_out(one.replace("2", "1"))
    assert not thinned.is_left_out("tests/test_a.py::test_cases")


def test_a_test_of_the_database_takes_one_engine_with_all_its_other_cases() -> None:
    engines = ("sqlite", "postgresql")
    cases = [{"database": engine, "n": n} for engine in engines for n in range(3)]
    halves = {tuple(thinned.chosen(f"tests/db/test_it.py::test_{n}", cases)) for n in range(20)}
    assert halves == {(0, 1, 2), (3, 4, 5)}
    servers = [{"_server": server} | one for server in ("valkey", "redis") for one in cases]
    for n in range(20):
        held = thinned.chosen(f"tests/research/loading/test_it.py::test_{n}", servers)
        assert len({(servers[k]["_server"], servers[k]["database"]) for k in held}) == 1
        assert [servers[k]["n"] for k in held] == [0, 1, 2]
    both = sorted(thinned.BOTH_ENGINES)[0]
    assert thinned.chosen(f"{both}::test_it", cases) == list(range(6))
    assert thinned.chosen("tests/core/cache/test_it.py::test_it", cases) == list(range(6))


@pytest.mark.parametrize(
    ("argument", "is_full"),
    [("", False), ("", True), ("::test_it", False), ("::test_it[1]", False)],
)
def test_only_the_cases_taken_are_made_unless_all_or_one_is_requested(
    argument: str, is_full: bool, request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch
) -> None:
    file, tests = next(iter(thinned.VALUES.items()))
    test, kept = next(iter(tests.items()))
    [suite] = [
        plugin
        for plugin in request.config.pluginmanager.get_plugins()
        if getattr(plugin, "__file__", None) == str(ROOT / "tests" / "conftest.py")
    ]
    monkeypatch.setattr(suite, "FULL", is_full)
    of_test = SimpleNamespace(
        _calls=[SimpleNamespace(params={"n": n}) for n in range(kept + 5)],
        definition=SimpleNamespace(nodeid=f"{file}::{test}"),
        config=SimpleNamespace(args=[f"{file}{argument}"], stash={}),
    )
    assert len(list(suite.pytest_generate_tests(of_test))) == 1
    assert len(of_test._calls) == (kept + 5 if argument or is_full else kept)
    written: list[str] = []
    suite.pytest_terminal_summary(SimpleNamespace(write_line=written.append), 0, of_test.config)
    said = "cases left out: 5 (tests/thinned.py, tests/left_out.txt); ONETAPE_FULL=1 runs all"
    assert written == ([] if argument or is_full else [said])


def test_this_run_has_no_other_cases_than_those_taken(request: pytest.FixtureRequest) -> None:
    if FULL or any("::" in argument for argument in request.config.args):
        pytest.skip("all cases or single tests are requested")
    counts = Counter(
        item.nodeid.partition("[")[0]
        for item in request.session.items
        if not thinned.is_of_a_new_vendor(item.nodeid, getattr(item, "callspec", _ALONE).params)
    )
    for table in (thinned.VENDORS, thinned.VALUES):
        for file, tests in table.items():
            for test, kept in tests.items():
                assert counts[f"{file}::{test}"] <= kept, f"{file}::{test}"
    assert not any(thinned.is_left_out(item.nodeid) for item in request.session.items)


def test_a_full_run_takes_every_file_that_is_thinned() -> None:
    done = subprocess.run(
        ["make", "-s", "-f", "Makefile", "-f", "-", "counted", "PYTHON=python3", "UV="],
        cwd=ROOT, input="counted:; @echo $(COUNTED)", capture_output=True, text=True, check=True,
    )  # fmt: skip
    files = done.stdout.split()
    assert {
        *thinned.VENDORS,
        *thinned.VALUES,
        *(name.partition("::")[0] for name in thinned.LEFT_OUT),
        "tests/db/test_universes.py",
    } <= set(files)
    assert all((ROOT / file).is_file() for file in files)
