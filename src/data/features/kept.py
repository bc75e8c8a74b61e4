"""Blocks that are kept in a store of frames, under a digest of everything that their values depend on."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping, Sequence
from typing import Any, Protocol

import numpy as np

from ..core.model.words.caller import warn_user
from ..errors import MissingExtraError, StorageError, install_line
from .blocks import Tape, blocks, compute, first_of
from .recipes import RecipeUse
from .rolling import Values, library, versions

__all__ = ["BlockStore", "values_of"]

# Part of every digest; raised when the values of a recipe change.
_EDITION = 2


class BlockStore(Protocol):
    """A store of Polars frames by digest; thread-safe, and shared by processes."""

    def get(self, key: str) -> Any:
        """Return an object whose ``frame`` is the stored frame; None if it is missing or damaged."""

    def put(self, key: str, frame: Any, facts: Mapping[str, Any]) -> Any:
        """Store a frame.

        Raises:
            StorageError: The frame cannot be stored.
        """


def values_of(
    uses: Sequence[RecipeUse],
    tape: Tape,
    store: BlockStore | None = None,
    into: Mapping[str, Values] | None = None,
) -> Mapping[str, Values]:
    """Return the values of each output for the bars of the answer, keyed by column name.

    Args:
        uses: Recipes.
        tape: Bars.
        store: Store in which the blocks of packaged recipes are kept; None computes all.
        into: Arrays to fill and return, by column name; None creates them.

    Raises:
        FeatureError, ForeignError, ProviderTimeoutError: The function of a registered recipe
            failed.
        MissingExtraError: A store is given, but Polars is not installed.

    Warns:
        UserWarning: A block could not be kept.
    """
    if store is not None and library("polars") is None:
        raise MissingExtraError("kept features need Polars", hint=install_line("features"))
    kept = [use for use in uses if store is not None and not use.recipe.is_own]
    names, row = [name for use in uses for name in use.names], 0
    values = into or {name: np.empty(len(tape) - tape.first) for name in names}
    for block in blocks(tape):
        found = _kept(store, kept, tape, block) if store is not None and kept else {}
        # Values of packaged windowed recipes depend only on their window.
        part = range(max(block.start, tape.first), block.stop)
        for use in uses:
            if use not in kept:
                found |= _computed([use], tape, part if use.is_free else block)
        end = row + len(part)
        for name, own in found.items():
            values[name][row:end] = own[len(own) - (end - row) :]
        row = end
    return values


def _computed(uses: Sequence[RecipeUse], tape: Tape, block: range) -> dict[str, Values]:
    return {
        name: values
        for use in uses
        for name, values in zip(use.names, compute(use, tape, block), strict=True)
    }


def _kept(
    store: BlockStore, uses: Sequence[RecipeUse], tape: Tape, block: range
) -> dict[str, Values]:
    """Return the values of a block from the store; compute and store them if they are not there."""
    key = _digest(uses, tape, block)
    found: dict[str, Values] = {}
    try:
        if (stored := store.get(key)) is not None:
            return {name: stored.frame[name].to_numpy() for name in stored.frame.columns}
        found = _computed(uses, tape, block)
        frame = library("polars").DataFrame(found)
        store.put(key, frame, {"recipes": [use.text for use in uses]})
    except StorageError as error:
        warn_user(f"features were not kept: {error}")
    return found or _computed(uses, tape, block)


def _digest(uses: Sequence[RecipeUse], tape: Tape, block: range) -> str:
    """Return the digest of the bars and lead of a block, of its holes, and of the recipes and libraries."""
    first = min(first_of(use, tape, block) for use in uses)
    holes = [(p - block.start, end) for p, end in tape.holes.items() if first <= p < block.stop]
    names = sorted(
        {name for use in uses for name in use.recipe.columns} | {"opens"} & tape.columns.keys()
    )
    facts = [
        _EDITION, versions(), tape.timeframe.label, sorted((use.text, use.lead) for use in uses),
        block.start - first, len(block), holes, tape.lacks_lead and first == 0, names,
    ]  # fmt: skip
    digest = hashlib.sha256(json.dumps(facts).encode())
    digest.update(tape.stamps[first : block.stop].tobytes())
    for name in names:
        digest.update(tape.columns[name][first : block.stop].tobytes())
    return digest.hexdigest()
