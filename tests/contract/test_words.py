"""What must not stand in the files: keys, machines, unfinished work, the papers of the plan."""

from __future__ import annotations

import re

import pytest

from tests.contract.source import expect_none, text_files

# Written in pieces so that this file does not find itself. Each begins with a literal, which is fast to find.
MACHINES = [
    re.compile("/" + r"(?:home|Users|root)/[\w.-]+"),
    re.compile("/" + r"(?:work|private|scratch|tmp/(?:onetape|trial))/\w+"),
    re.compile(r":(?<=[A-Za-z]:)\\+" + r"Users\\"),
    re.compile("pypi" + r"\.org"),
    re.compile("pythonhosted" + r"\.org"),
    re.compile(r"--(?:extra-)?" + r"index-url"),
]
KEYS = [
    re.compile("AKIA" + r"[0-9A-Z]{16}"),
    re.compile("-----BEGIN" + r" [A-Z ]*PRIVATE KEY"),
    re.compile("gh[pousr]" + r"_[A-Za-z0-9]{30,}"),
    re.compile("sk" + r"-(?<!\wsk-)[A-Za-z0-9]{20,}"),
    re.compile(
        r"""[aAsS](?i:(?<=a)pi|(?<=s)ecret|(?<=a)ccess)_?(?i:key|token)["']?\s*[:=]"""
        r"""\s*["'][\w+/=-]{20,}["']"""
    ),
    re.compile(r"[?&](?i:api_?key|token)" + r"=[A-Za-z0-9]{16,}"),
]
UNFINISHED = [
    *(
        re.compile(rf"{word}(?<!\w{word})\b")
        for word in ("TO" + "DO", "FIX" + "ME", "XX" + "X", "HA" + "CK")
    ),
    re.compile(r"raise NotImplemented" + "Error"),
]
# A project speaks of itself: not of the papers it was planned on.
PAPERS = [
    re.compile("S0" + r"0(?<!\wS00)[0-4](?:[-:]\d+)?\b"),
    re.compile(
        r"\.md\b(?:"
        + "|".join(
            rf"(?<=\b{name}\.md)"
            for name in ("compat", "rulings", "rows", "DESIGN", "BRIEF", "peers-and-pitfalls")
        )
        + ")"
    ),
]
UNREASONED = re.compile(r"#\s*" + r"noqa(?!: [A-Z]+\d+(?:, ?[A-Z]+\d+)* - \w)")


def matches(patterns: list[re.Pattern[str]], name: str, text: str) -> list[str]:
    found: list[str] = []
    # None holds on to the ends of lines: what a line matches, the whole text does, which takes a tenth.
    patterns = [p for p in patterns if p.search(text)]
    for number, line in enumerate(text.splitlines() if patterns else (), 1):
        found += [f"{name}:{number} {p.search(line)[0]}" for p in patterns if p.search(line)]  # type: ignore[index]
    return found


@pytest.mark.parametrize(
    "patterns", [MACHINES, KEYS, UNFINISHED], ids=["machines", "keys", "unfinished"]
)
def test_no_file_contains_machine_paths_keys_or_unfinished_work(
    patterns: list[re.Pattern[str]],
) -> None:
    expect_none([v for name, text in text_files() for v in matches(patterns, name, text)])


def test_no_file_speaks_of_its_papers() -> None:
    names = ((n, t) for n, t in text_files() if not n.startswith("tests/") or "fixtures" in n)
    expect_none([v for name, text in names for v in matches(PAPERS, name, text)])


def test_every_silenced_rule_has_its_reason() -> None:
    python = ((n, t) for n, t in text_files() if n.endswith(".py"))
    expect_none([v for name, text in python for v in matches([UNREASONED], name, text)])


@pytest.mark.parametrize(
    "patterns, text",
    [
        (MACHINES, "see /" + "home/ann/bars"),
        (MACHINES, "cache: /" + "Users/ann"),
        (MACHINES, "https://pypi" + ".org/simple"),
        (MACHINES, "C:\\" + "Users\\ann"),
        (KEYS, "AKIA" + "ABCDEFGHIJKLMNOP"),
        (KEYS, 'API_KEY = "' + "a1b2c3d4e5f6a7b8c9d0" + '"'),
        (KEYS, "https://x.test/q?apikey" + "=abcdefgh12345678"),
        (UNFINISHED, "# TO" + "DO: later"),
        (UNFINISHED, "raise NotImplemented" + "Error"),
        (PAPERS, "as S0" + "03:232 says"),
        (PAPERS, "see compat" + ".md"),
        ([UNREASONED], "x = 1  # no" + "qa"),
        ([UNREASONED], "x = 1  # no" + "qa: S101"),
    ],
)
def test_each_forbidden_pattern_matches_its_example(
    patterns: list[re.Pattern[str]], text: str
) -> None:
    assert matches(patterns, "x", text) != []


@pytest.mark.parametrize(
    "text",
    [
        'apikey="demo"', "params={'apikey': key}", "~/.cache/onetape", "docs/format.md",
        "x = 1  # no" + "qa: S311 - spreads retries, guards nothing",
    ],
)  # fmt: skip
def test_the_patterns_let_pass(text: str) -> None:
    assert matches([*MACHINES, *KEYS, *UNFINISHED, *PAPERS, UNREASONED], "x", text) == []
