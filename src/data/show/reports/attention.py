"""Finds the stored series that need attention in a report, with reasons and next steps. Pure."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from ...core.model.display.texts import counted
from ...jobs.validation.gap_classes import CLASSES

# Classes of gaps in which bars are expected and vendors had none; other gaps are closed, recent or
# never requested.
HOLES = tuple(name for name, facts in CLASSES.items() if facts.is_hole)
# Reasons for attention, worst first; those from `holes` on should be examined but are not bad.
SEVERITIES = ("unreadable", "error", "holes", "warning")
_BAD = SEVERITIES[:2]


def attention_of(
    name: str,
    problems: Mapping[str, str],
    findings: Sequence[Mapping[str, Any]],
    gaps: Sequence[Mapping[str, Any]],
    unlisted: tuple[int, int] = (0, 0),
) -> list[dict[str, str]]:
    """Return the reasons why a series needs attention, worst first.

    Each reason has the keys ``kind``, ``text`` and ``next_step``.

    Args:
        name: Symbol and timeframe, as typed in a command.
        problems: Maps each part of the stored data that cannot be read to the reason.
        findings: Findings from the validation.
        gaps: Classified gaps.
        unlisted: Number of further gaps of the classes in :data:`HOLES`, and number of bars in them.
    """
    entries = [
        {"kind": "unreadable", "text": f"{part}: {why}", "next_step": "`onetape doctor`"}
        for part, why in problems.items()
    ]
    entries += _entries_of(findings, "error")
    holes = [gap for gap in gaps if gap["class"] in HOLES and gap["bars"]]
    count, bars = len(holes) + unlisted[0], sum(gap["bars"] for gap in holes) + unlisted[1]
    if bars:
        steps = [gap["next_step"] for gap in holes if gap["next_step"]]
        text = f"{counted(bars, 'bar')} missing in {counted(count, 'gap')}"
        # An automatic retry is information, not a task.
        command = next((step for step in steps if "onetape " in step), "")
        if steps and not command:
            text += f", {steps[0]}"
        entries.append(_entry("holes", text, command or f"`onetape gaps {name}`"))
    wrong = {(one["first"], one["last"]) for one in findings if one["severity"] == "error"}
    rest = [
        finding
        for finding in findings
        if not _is_told(finding, holes) and (finding["first"], finding["last"]) not in wrong
    ]
    return entries + list(_entries_of(rest, "warning"))


def _is_told(finding: Mapping[str, Any], holes: Sequence[Mapping[str, Any]]) -> bool:
    """Return whether a finding only repeats missing bars that are already counted as gaps."""
    if finding["check"] != "calendar" or finding["rows"] > sum(gap["bars"] for gap in holes):
        return False
    ends = (finding["first"], finding["last"])
    return all(any(gap["start"] <= at < gap["end"] for gap in holes) for at in ends)


def _entries_of(findings: Sequence[Mapping[str, Any]], severity: str) -> Iterator[dict[str, str]]:
    for finding in findings:
        if finding["severity"] == severity:
            yield _entry(
                severity, f"{finding['check']}: {finding['evidence']}", finding["next_step"]
            )


def _entry(kind: str, text: str, next_step: str) -> dict[str, str]:
    return {"kind": kind, "text": text, "next_step": next_step}


def unlisted_holes(gaps: Mapping[str, Any]) -> tuple[int, int]:
    """Return the number of gaps in which vendors had no bars that are not listed, and of their bars.

    Args:
        gaps: Gaps of a series, from ``SeriesGaps.as_dict``.
    """
    listed = [gap["bars"] for gap in gaps["gaps"] if gap["class"] in HOLES]
    count, bars = (sum(gaps[of].get(name, 0) for name in HOLES) for of in ("counts", "bars"))
    return count - len(listed), bars - sum(listed)


def rank_of(attention: Sequence[Mapping[str, str]]) -> tuple[int, int]:
    """Return a sort key for a series: the worst kind of reason first, then the most reasons."""
    if not attention:
        return len(SEVERITIES), 0
    return SEVERITIES.index(attention[0]["kind"]), -len(attention)


def look_at(
    names: Sequence[str], attention: Sequence[Sequence[Mapping[str, str]]]
) -> dict[str, Any]:
    """Return a summary of several series: state, count, sentence and next step.

    Args:
        names: Names of the series, the worst first.
        attention: For each series, the reasons why it needs attention.
    """
    poor = [(name, why[0]) for name, why in zip(names, attention, strict=True) if why]
    look = {"number": len(poor), "of": f"of {counted(len(names), 'series')}"}
    if not names:
        return look | {
            "state": "good",
            "text": "Nothing is stored in this cache.",
            "next_step": "`onetape fetch AAPL 1d --period 1y`",
        }
    if len(names) == 1:
        look |= {"number": len(attention[0]), "of": "to look at"}
    if not poor:
        text = "Nothing wrong was found in the stored bars."
        return look | {"state": "good", "text": text, "next_step": ""}
    name, worst = poor[0]
    need = "needs attention" if len(poor) == 1 else f"need attention, {name} most"
    named = f"{name} {need}" if len(poor) == 1 else f"{counted(len(poor), 'series')} {need}"
    state = "bad" if worst["kind"] in _BAD else "poor"
    text = f"{named}: {worst['text']}"
    return look | {"state": state, "text": text, "next_step": worst["next_step"]}
