"""Tell where bars of two vendors meet in an answer, and what came of comparing them."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from typing import Any

from ...model.coverage import Coverage, Covered, Splice
from ...model.instant import iso


def at_borders(coverage: Coverage) -> Coverage:
    """Return the coverage with only those splices that lie at a border still, as it is now.

    What was made good is told of every part of a stretch.
    """
    if not any(part.splices for part in coverage):
        return coverage
    found, before = [], None
    parts = [part for part in coverage if part.state != "empty"]
    behind = dict(zip(map(id, parts), [*parts[1:], None], strict=True))
    for part in coverage:
        if part.splices:
            after = behind[id(part)]
            kept = tuple(s for s in part.splices if _counts(s, part, before, after))
            found.append(replace(part, splices=kept))
        else:
            found.append(part)
        before = before if part.state == "empty" else part
    return Coverage(found)


def _counts(splice: Splice, part: Covered, before: Covered | None, after: Covered | None) -> bool:
    if splice.verdict == "constant":
        return True
    if splice.at == part.span.start:
        return before is None or _differ(part, before)
    return splice.at == part.span.end and (after is None or _differ(part, after))


def _differ(one: Covered, other: Covered) -> bool:
    return one.vendor != other.vendor or one.is_rescaled != other.is_rescaled


def told_splices(part: Covered) -> dict[str, Any]:
    """Return the entry ``splice`` of a stretch in the provenance; nothing where it has none."""
    told = [splice.to_json() | {"at": iso(splice.at)} for splice in part.splices]
    return {"splice": told} if told else {}


def splice_problems(coverage: Coverage) -> list[str]:
    """Return a sentence for each splice that the user should know of; each is said once."""
    return list(dict.fromkeys(s for part in coverage for s in _sentences(part)))


def _sentences(part: Covered) -> Iterator[str]:
    for splice in part.splices:
        if splice.verdict == "constant":
            yield (
                f"prices of {part.vendor} at {iso(splice.at)} were not as it sent them: "
                f"{splice.because}; they were {splice.ratio:.6g} times those of {splice.other}"
            )
        elif splice.verdict == "unchecked":
            yield (
                f"prices of {part.vendor} and {splice.other} meet at {iso(splice.at)} and could "
                f"not be compared: {splice.because}"
            )
