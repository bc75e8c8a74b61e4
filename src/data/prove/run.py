"""Carries out proofs in turn."""

from __future__ import annotations

import time
from collections.abc import Generator, Sequence
from typing import Any, NamedTuple

from .checks import PROOFS, Proof
from .stage import Stage, UnfinishedError, staged

NAMES = tuple(proof.name for proof in PROOFS)


class PromiseVerdict(NamedTuple):
    """The verdict on one promise.

    Attributes:
        name: Name of the proof.
        promise: The promise, in the words of the README.
        did: What was done.
        saw: Observations; if the promise was broken, the ways in which it was.
        is_kept: Whether the promise was kept.
        seconds: How long the proof took.
    """

    name: str
    promise: str
    did: str
    saw: str
    is_kept: bool
    seconds: float

    def to_json(self) -> dict[str, Any]:
        """Return a JSON-compatible dictionary."""
        return self._asdict() | {"seconds": round(self.seconds, 2)}


def verdicts(names: Sequence[str] = (), break_: str = "") -> Generator[PromiseVerdict]:
    """Yield the verdict on each promise as soon as there is one.

    Args:
        names: Names of the proofs to carry out; all if empty.
        break_: Name of a proof whose promise is broken on purpose, or ``all``.

    Raises:
        StorageError: No temporary folder can be created.
        ConfigError: No port is free.
    """
    with staged(break_) as stage:
        for proof in PROOFS:
            if not names or proof.name in names:
                yield carried_out(stage, proof)


def carried_out(stage: Stage, proof: Proof) -> PromiseVerdict:
    """Carry out a proof, and return the verdict; a proof that cannot be finished is a broken promise."""
    begun = time.monotonic()
    try:
        stage.scene(proof.name)
        seen = proof.run(stage)
        did, saw, broken = seen.did, seen.saw, list(seen.broken)
    except UnfinishedError as exc:
        did, saw, broken = proof.run.__doc__ or "", "", [str(exc)]
    seconds = time.monotonic() - begun
    return PromiseVerdict(
        proof.name, proof.promise, did, "; ".join(broken) or saw, not broken, seconds
    )
