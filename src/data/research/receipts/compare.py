"""Compares two receipts in sentences, and shows one as an in-toto statement."""

from __future__ import annotations

from typing import Any

from .digests import sha256
from .receipt import Line, Receipt

_NOT_COMPARED = ("run", "terms", "all")
STATEMENT = "https://in-toto.io/Statement/v1"
PREDICATE = "tag:onetape,2026:receipt/v1"
_MOST_MONTHS = 6


def differences(first: Receipt, second: Receipt) -> list[str]:
    """Return one sentence for each thing that differs between what two runs read; empty if nothing does."""
    ours, theirs = (
        {
            line.identity: line
            for line in one.lines
            if line.values and line.kind not in _NOT_COMPARED
        }
        for one in (first, second)
    )
    found = []
    for identity in {**ours, **theirs}:
        a, b = ours.get(identity), theirs.get(identity)
        if a is None or b is None:
            found.append(
                f"{_what(a or b)}: only in the {'second' if a is None else 'first'} receipt."
            )
        elif a.text != b.text:
            found.append(f"{_what(a)}: {_difference(first, second, a, b)}.")
    unknown = [{line.text for line in one.lines[1:] if not line.values} for one in (first, second)]
    for text in sorted(unknown[0] ^ unknown[1]):
        which = "first" if text in unknown[0] else "second"
        found.append(f"{text}: only in the {which} receipt; a kind of line of a later version.")
    return found


def _what(line: Line | None) -> str:
    assert line is not None
    vendor = line.values.get("vendor")
    name = " ".join(filter(None, (line.values["name"], line.values.get("timeframe"))))
    kind = {"bars": "bars", "actions": "splits and dividends"}.get(line.kind, line.kind)
    return f"{name}, {kind}" + f" from {vendor}" * bool(vendor)


def _difference(first: Receipt, second: Receipt, a: Line, b: Line) -> str:
    words = [
        f"{name} {a.values[name]} in the first, {b.values[name]} in the second"
        for name in ("ranges", "rows", "splits", "dividends", "at")
        if a.values.get(name) != b.values.get(name)
    ]
    if a.kind == "bars":
        then, now = first.months_of_line(a), second.months_of_line(b)
        months = [m for m in sorted({*then, *now}) if then.get(m) != now.get(m)]
        shown = ", ".join(months[:_MOST_MONTHS]) + f" and {len(months) - _MOST_MONTHS} more" * (
            len(months) > _MOST_MONTHS
        )
        if then and now and months:
            words.append(f"values differ in {shown}, and all other months are equal")
        elif not words:
            words.append("values differ; in which months is not known")
    return "; ".join(words) or "values differ"


def in_toto(receipt: Receipt, name: str, data: bytes) -> dict[str, Any]:
    """Return an in-toto statement (version 1) about a receipt's file, to be signed by other tools.

    Args:
        receipt: The receipt.
        name: Name of its file.
        data: Bytes of the file.
    """
    digest = sha256(data).removeprefix("sha256:")
    lines = [line.text for line in receipt.lines]
    return {
        "_type": STATEMENT,
        "subject": [{"name": name, "digest": {"sha256": digest}}],
        "predicateType": PREDICATE,
        "predicate": {"all": receipt.digest, "lines": lines},
    }
