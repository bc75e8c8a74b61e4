"""Many spans as arrays of their starts and ends: arithmetic in one pass."""

from __future__ import annotations

from collections.abc import Iterable
from itertools import chain

import numpy as np
from numpy.typing import NDArray

from .span import Span

# Many spans: one in each row, of an array with two columns.
Edges = NDArray[np.int64]


def distinct(stamps: NDArray[np.int64]) -> NDArray[np.int64]:
    """Return the distinct stamps in ascending order; the input may be in any order.

    ``np.unique`` hashes integers, which takes many times as long if they are sorted.
    """
    if (stamps[1:] > stamps[:-1]).all():
        return stamps
    ordered = np.sort(stamps)
    is_last = np.ones(len(ordered), bool)
    np.not_equal(ordered[1:], ordered[:-1], out=is_last[:-1])
    return ordered[is_last]


def edges_of(spans: Iterable[Span] | Edges) -> Edges:
    """Return spans as an array; an array as it is."""
    if isinstance(spans, np.ndarray):
        return spans
    return np.fromiter(chain.from_iterable(spans), np.int64).reshape(-1, 2)


def spans_of(edges: Edges) -> list[Span]:
    """Return the rows of an array as spans."""
    return list(map(Span._make, edges.tolist()))


def merged(edges: Edges) -> Edges:
    """Return the same set of stamps as ascending, disjoint spans; see :func:`coalesce`."""
    edges = edges[edges[:, 0] < edges[:, 1]]
    if len(edges) < 2:
        return edges
    edges = edges[edges[:, 0].argsort(kind="stable")]
    reach = np.maximum.accumulate(edges[:, 1])
    cuts = (edges[1:, 0] > reach[:-1]).nonzero()[0]
    starts = edges[np.concatenate([[0], cuts + 1]), 0]
    return np.column_stack([starts, reach[np.concatenate([cuts, [-1]])]])


def holds(edges: Edges, stamps: NDArray[np.int64]) -> NDArray[np.bool_]:
    """Return which stamps are in one of the spans."""
    starts, ends = np.sort(edges[edges[:, 0] < edges[:, 1]], axis=0).T
    # A stamp is inside if more spans have begun than ended there.
    rows: NDArray[np.bool_] = starts.searchsorted(stamps, "right") > ends.searchsorted(
        stamps, "right"
    )
    return rows


def difference(edges: Edges, removed: Edges) -> Edges:
    """Return the stamps of ``edges`` that are not in ``removed``; see :func:`subtract`."""
    if not (len(edges) and len(removed)):
        return merged(edges)
    cuts = distinct(np.concatenate([edges, removed]).ravel())
    kept = holds(edges, cuts[:-1]) & ~holds(removed, cuts[:-1])
    return merged(np.column_stack([cuts[:-1], cuts[1:]])[kept])


def meets(edges: Edges, ascending: Edges) -> NDArray[np.bool_]:
    """Return which of the non-empty spans share a stamp with one of ascending, disjoint ones."""
    starts, ends = ascending.T
    rows: NDArray[np.bool_] = starts.searchsorted(edges[:, 1]) > ends.searchsorted(
        edges[:, 0], "right"
    )
    return rows
