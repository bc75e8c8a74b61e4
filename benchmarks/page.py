"""Which ratios are worse than on the page. Pure: no file is read or written."""

from __future__ import annotations

from collections.abc import Iterable, Iterator

from .harness import Report

# A ratio that is worse by this fraction is reported.
_WORSE = 0.2


def worse(page: str, reports: Iterable[Report]) -> list[str]:
    """Return a line for each ratio whose median is at least a fifth worse than on the page.

    Times are not compared, because they depend on the machine. A ratio missing from the page is
    reported as well, as otherwise nobody would notice that it is compared with nothing.
    """
    written = _medians(page)
    return [line for report in reports for line in _of_one(written, report)]


def _of_one(written: dict[tuple[str, str, str], float], report: Report) -> Iterator[str]:
    for row in report.rows:
        for column, figure in row.figures.items():
            if column not in (*report.more, *report.less):
                continue
            place = f"{report.title}, {row.name}: {column}"
            before, now = written.get((report.title, row.name, column)), figure.median
            if before is None:
                yield f"{place} is not on the page"
            elif column in report.more and now <= (1 - _WORSE) * before:
                yield f"{place} is {now:.3g}, the page has {before:.3g}: less than it was"
            elif column in report.less and now > before and now >= (1 + _WORSE) * before:
                yield f"{place} is {now:.3g}, the page has {before:.3g}: more than it was"


def _medians(page: str) -> dict[tuple[str, str, str], float]:
    """Return the medians in all tables, by title, line and column."""
    results: dict[tuple[str, str, str], float] = {}
    title, columns = "", list[str]()
    for line in page.splitlines():
        if line.startswith("### "):
            title, columns = line[4:], []
        if not line.startswith("| ") or not title:
            continue
        name, *cells = (cell.strip() for cell in line.strip("|").split("|"))
        if not columns:
            columns = cells
            continue
        for column, cell in zip(columns, cells, strict=False):
            if " [" in cell:
                results[title, name, column] = float(cell.partition(" [")[0].replace(",", ""))
    return results
