"""Repairs a series according to its certain findings. Pure; the result is never stored as bars."""

from __future__ import annotations

from collections.abc import Iterable
from typing import NamedTuple

import numpy as np

from ...core.model.market.bars import BarTable
from ...core.prices.judgement.findings import QualityFinding
from ...core.prices.judgement.levels import repaired_prices
from ...core.prices.judgement.series import CheckedSeries, Mask, ShareEvent


class RepairedSeries(NamedTuple):
    """A series with its certain defects repaired.

    Attributes:
        table: Repaired bars; unchanged columns are shared with the series.
        dividends: Dividends with repaired amounts; None if dividends are unknown.
        rows: Mask of the rows that differ from the series in any column.
    """

    table: BarTable
    dividends: tuple[ShareEvent, ...] | None
    rows: Mask


def repaired(series: CheckedSeries, findings: Iterable[QualityFinding]) -> RepairedSeries:
    """Apply the repairs that the findings suggest; the input is not modified."""
    repairs = [repair for finding in findings for repair in finding.repairs]
    table = repaired_prices(series.table, [r for r in repairs if r.what == "prices"])
    if table.adj_close is not None:
        adj = table.adj_close
        for repair in repairs:
            if repair.what == "adj_close":
                adj = np.where(table.stamps < repair.stamps[0], adj * repair.factor, adj)
        table = table.with_adj_close(adj)
    factors = {
        int(stamp): repair.factor
        for repair in repairs
        if repair.what == "dividend"
        for stamp in repair.stamps
    }
    dividends = series.dividends and tuple(
        event._replace(value=event.value * factors.get(event.at_ms, 1.0))
        for event in series.dividends
    )
    rows = np.zeros(len(table), dtype=bool)
    for new, old in zip(table.values(), series.table.values(), strict=True):
        rows |= (new != old) & ~(np.isnan(new) & np.isnan(old))
    return RepairedSeries(table, None if dividends is None else tuple(dividends), rows)
