"""How often checks are right: the figures in README here, and the tables in the code and the docs."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from pathlib import Path

from src.data.core.prices.judgement import precision
from src.data.core.prices.judgement.precision import LEAST_PRECISION, Precision

from .answers import Answered, Reported
from .labels import Half, digest
from .measure import Count, Measured
from .planting import KINDS, Kind
from .splits import Puts, lines

ROOT = Path(__file__).parents[2]
PAGE = Path(__file__).with_name("README.md")
SUMMARY = ROOT / "docs" / "validation.md"
BEGIN, END = "<!-- written by python -m tests.corpus --write -->", "<!-- end -->"
_CODE = Path(precision.__file__)
_CODE_BEGIN, _CODE_END = "# --- written by `python -m tests.corpus --write` ---", "# --- end ---"

Halves = Mapping[Half, Measured]


def total(halves: Halves) -> Measured:
    """Return the counts of both halves."""
    both = Measured()
    for one in halves.values():
        both.add(one)
    return both


def precisions(measured: Measured) -> dict[str, Precision]:
    """Return the precision of each cause, by name."""
    return {
        cause: Precision(count.right, count.raised, len(count.series))
        for cause, count in sorted(measured.alarms.items())
    }


def row_of(cause: str, one: Precision, first: Count, held_out: Count) -> str:
    """Return the row of one cause."""
    most = "its own" if one.lower >= LEAST_PRECISION else "`info`"
    halves = f"{first.right} of {first.raised} | {held_out.right} of {held_out.raised}"
    return f"| `{cause}` | {one.right} of {one.raised} | {one.series} | {halves} | {one.lower:.1%} | {most} |"


def summary(table: Mapping[str, Precision]) -> str:
    """Return the table for users."""
    lines = ["| Cause | Right of raised | Lower bound |", "|---|---|---|"]
    lines += [
        f"| `{cause}` | {one.right} of {one.raised} | {one.lower:.1%} |"
        for cause, one in sorted(table.items())
    ]
    return "\n".join(lines) + "\n"


def part(halves: Halves, answers: Answered, puts: Puts) -> str:
    """Return the part of the page, without its markers."""
    return "\n".join([*_lines(halves, answers), "", *lines(puts)]) + "\n"


def seen_alarms(count: Count, table: Mapping[str, Precision]) -> int:
    """Return in how many cases a user sees an alarm: one whose cause is right often enough."""
    grounds = {cause for cause, one in table.items() if one.lower >= LEAST_PRECISION}
    return sum(bool(causes & grounds) for causes in count.causes)


def _lines(halves: Halves, answers: Answered) -> Iterator[str]:
    both, none = total(halves), Count()
    yield f"Corpus `{digest()}`: {both.series} series, {both.bars:,} bars."
    yield ""
    yield "| Cause | Right of raised | Series | First half | Held out | Lower bound | At most |"
    yield "|---|---|---|---|---|---|---|"
    for cause, one in precisions(both).items():
        counts = (halves[half].alarms.get(cause, none) for half in ("first", "held out"))
        yield row_of(cause, one, *counts)
    yield ""
    wrong = sum(count.raised - count.right for count in both.clean.values())
    right = sum(count.right for count in both.clean.values())
    yield (
        f"The series as recorded raise {right} alarms on rows that the list names as wrong, and "
        f"{wrong} on other rows."
    )
    yield ""
    yield (f"Of {answers.clean} answers with clean series, {len(answers.doubted)} are doubted.")
    yield ""
    yield (
        "| Planted | `validate`, first half | `validate`, held out | Answers | Reported by the answer "
        "| Refused by `strict` | Found by `validate` in these |"
    )
    yield "|---|---|---|---|---|---|---|"
    table = precisions(both)
    for kind in KINDS:
        counts = [halves[half].found.get(kind.name, none) for half in ("first", "held out")]
        cells = [f"{seen_alarms(count, table)} of {count.raised}" for count in counts]
        one = answers.kinds.get(kind.name, Reported())
        numbers = (one.planted, one.by_answer, one.by_strict, one.by_validate)
        cells += [str(number) if one.planted else "" for number in numbers]
        yield f"| {title_of(kind)} | " + " | ".join(cells) + " |"


def title_of(kind: Kind) -> str:
    """Return the name of a kind as the page shows it.

    The names themselves do not change: what is planted depends on them.
    """
    name = kind.name.replace("never asked for", "never requested")
    title = re.sub(r"\b(un)?told\b", lambda word: f"{word[1] or ''}reported", name)
    return f"{title} (right)" if kind.is_right else title


def written() -> str:
    """Return the part as the page has it."""
    return PAGE.read_text("utf-8").split(BEGIN)[1].split(END)[0].strip() + "\n"


def write(halves: Halves, answers: Answered, puts: Puts) -> None:
    """Write the part of the page."""
    before, rest = PAGE.read_text("utf-8").split(BEGIN)
    after = rest.split(END)[1]
    PAGE.write_text(f"{before}{BEGIN}\n\n{part(halves, answers, puts)}\n{END}{after}", "utf-8")


def write_table(halves: Halves) -> None:
    """Write the table in the code, by which findings are as grave as they are, and the one for users."""
    before, rest = _CODE.read_text("utf-8").split(_CODE_BEGIN)
    after = rest.split(_CODE_END)[1]
    rows = "".join(
        f'    "{cause}": Precision({one.right}, {one.raised}, {one.series}),\n'
        for cause, one in precisions(total(halves)).items()
    )
    table = f'CORPUS = "{digest()}"\nMEASURED: Mapping[str, Precision] = {{\n{rows}}}\n'
    _CODE.write_text(f"{before}{_CODE_BEGIN}\n{table}{_CODE_END}{after}", "utf-8")
    before, rest = SUMMARY.read_text("utf-8").split(BEGIN)
    after = rest.split(END)[1]
    text = summary(precisions(total(halves)))
    SUMMARY.write_text(f"{before}{BEGIN}\n\n{text}\n{END}{after}", "utf-8")
