"""Facts of a plan or an explanation: a name, and beside it what there is to say."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import TYPE_CHECKING

from .tables import findings, styled

if TYPE_CHECKING:
    from rich.table import Table
    from rich.text import Text


def facts(lines: Iterable[tuple[str, str]], styles: Mapping[str, str]) -> Table:
    """Return lines of a name and a text; texts of one name stand below each other.

    Args:
        lines: names and texts; an empty name goes on with the one before.
        styles: name to the style of its texts, where it has one.
    """
    rows: list[tuple[str, str, list[Text]]] = []
    for name, text in lines:
        line = styled(text, styles.get(name, ""))
        if rows and name in ("", rows[-1][1]):
            rows[-1][2].append(line)
        else:
            rows.append(("", name, [line]))
    return findings(rows)
