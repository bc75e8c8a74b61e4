"""Arithmetic on many spans at once, stored as an array with the start and end of each."""

from __future__ import annotations

from collections.abc import Iterable
from itertools import chain

import numpy as np
from numpy.typing import NDArray

from .span import Span

# Many spans, as an array with one row for each and two columns, start and end.
Edges = NDArray[np.int64]


def distinct(stamps: NDArray[np.int64]) -> NDArray[np.int64]:
    """Return the distinct timestamps in ascending order; the input may be in any order.

    ``np.unique`` is not used because it hashes integers, which takes many times as long if the
    timestamps are already sorted.
    """
    if (stamps[1:] > stamps[:-1]).all():
        return stamps
    ordered = np.sort(stamps)
    return ordered.compress(np.concatenate([ordered[1:] != ordered[:-1], [True]]))


def edges_of(spans: Iterable[Span] | Edges) -> Edges:
    """Convert spans to an array of starts and ends; an array is returned unchanged."""
    if isinstance(spans, np.ndarray):
        return spans
    return np.fromiter(chain.from_iterable(spans), np.int64).reshape(-1, 2)


def spans_of(edges: Edges) -> list[Span]:
    """Convert an array of starts and ends to a list of spans."""
    return list(map(Span._make, edges.tolist()))


def merged(edges: Edges) -> Edges:
    """Merge spans into ascending, disjoint spans that cover the same time; see :func:`.span.coalesce`."""
    edges = edges[edges[:, 0] < edges[:, 1]]
    if len(edges) < 2:
        return edges
    edges = edges[edges[:, 0].argsort(kind="stable")]
    reach = np.maximum.accumulate(edges[:, 1])
    cuts = (edges[1:, 0] > reach[:-1]).nonzero()[0]
    starts = edges[np.concatenate([[0], cuts + 1]), 0]
    return np.column_stack([starts, reach[np.concatenate([cuts, [-1]])]])


def holds(edges: Edges, stamps: NDArray[np.int64]) -> NDArray[np.bool_]:
    """Return a mask of the timestamps inside the spans."""
    starts, ends = np.sort(edges[edges[:, 0] < edges[:, 1]], axis=0).T
    # A timestamp is inside if more spans have begun than ended at that point.
    started, ended = starts.searchsorted(stamps, "right"), ends.searchsorted(stamps, "right")
    rows: NDArray[np.bool_] = started > ended
    return rows


def difference(edges: Edges, removed: Edges) -> Edges:
    """Return the parts of ``edges`` that are not in ``removed``; see :func:`.span.subtract`."""
    if not (len(edges) and len(removed)):
        return merged(edges)
    cuts = distinct(np.concatenate([edges, removed]).ravel())
    is_kept = holds(edges, cuts[:-1]) & ~holds(removed, cuts[:-1])
    return merged(np.column_stack([cuts[:-1], cuts[1:]])[is_kept])


def meets(edges: Edges, ascending: Edges) -> NDArray[np.bool_]:
    """Return a mask of the non-empty spans that overlap one of the ascending, disjoint spans."""
    starts, ends = ascending.T
    started, ended = starts.searchsorted(edges[:, 1]), ends.searchsorted(edges[:, 0], "right")
    rows: NDArray[np.bool_] = started > ended
    return rows
