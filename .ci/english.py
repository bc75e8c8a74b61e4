"""Count patterns of unidiomatic English per file, and fail if a file has more than ``english.json`` lists.

Part of ``make lint``. The list may only fall: after improving a text run ``python .ci/english.py --write``.
It is a list of places to improve, not a rule of style. The files are the code in ``onetape``, ``src``,
``examples``, ``benchmarks`` and ``tests`` with its docstrings, comments and messages, and the pages
without their code blocks.
"""

from __future__ import annotations

import json
import re
import sys
from collections.abc import Mapping
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
LIST = Path(__file__).with_suffix(".json")
PATTERNS = {
    "description begins with a preposition or a pronoun": re.compile(
        r"^ +[\w*`., ]{1,60}: (?:of|for|as|which|that|those|is|it|they) ", re.MULTILINE
    ),
    "Return what": re.compile(r"\b(?:Return|Returns|Yield) what\b"),
    "Tell whether": re.compile(r"\b(?:Tell|Say|Says) whether\b"),
    "is no": re.compile(
        r"\b(?:is|are|was|were|be) (?:no|none of)\b(?! (?:longer|more|doubt|one|sooner))"
    ),
    "where for if": re.compile(
        r"\bwhere (?:it|they|there|none|nothing|one|that) (?:is|are|was|has|have)\b"
    ),
    "programs that talk": re.compile(
        r"\b(?:is|are|was|were|been|be|being) (?:asked|told|believed|owed|blamed)\b"
    ),
    "things that lie or stand": re.compile(
        r"\b(?:lies|lie|stands|stand) (?:in|beside|behind|there)\b"
    ),
}
# Documented states and keys, which are not sentences.
_CODES = re.compile(r"``[^`]*``|`[^`]*`|\bnever asked\b")
_FENCES = re.compile(r"^```.*?^```", re.MULTILINE | re.DOTALL)


def count(path: Path) -> int:
    """Return how often the patterns occur in a file."""
    text = path.read_text("utf-8")
    words = _CODES.sub("", _FENCES.sub("", text) if path.suffix == ".md" else text)
    return sum(len(pattern.findall(words)) for pattern in PATTERNS.values())


def counts() -> dict[str, int]:
    """Return the count of each file that has any, by its path from the root."""
    code = (
        path
        for top in ("onetape", "src", "examples", "benchmarks", "tests")
        for path in (ROOT / top).rglob("*.py")
    )
    pages = [ROOT / "README.md", *(ROOT / "docs").rglob("*.md")]
    found = {path.relative_to(ROOT).as_posix(): count(path) for path in [*code, *pages]}
    return {name: found[name] for name in sorted(found) if found[name]}


def risen(listed: Mapping[str, int], now: Mapping[str, int]) -> list[str]:
    """Return one line for each file that has more than the list allows."""
    return [
        f"{name}: {number} unidiomatic patterns, {listed.get(name, 0)} listed"
        for name, number in now.items()
        if number > listed.get(name, 0)
    ]


def main(arguments: list[str]) -> int:
    """Compare the files with the list, or write it; return the exit code."""
    now = counts()
    if arguments == ["--write"]:
        LIST.write_text(json.dumps(now, indent=1) + "\n", "utf-8")
        return 0
    found = risen(json.loads(LIST.read_text("utf-8")), now)
    for line in found:
        print(line, file=sys.stderr)
    return 1 if found else 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
