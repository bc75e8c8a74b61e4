"""Carries out the proofs one after another."""

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
        promise: Promise, in the words of the README.
        did: Description of the steps, with all details.
        saw: Description of what was observed; for a broken promise, how it was broken.
        is_kept: Whether the promise was kept.
        seconds: Duration of the proof.
        brief: Steps and observations in one line; for a broken promise, the first fault.
    """

    name: str
    promise: str
    did: str
    saw: str
    is_kept: bool
    seconds: float
    brief: str

    def to_json(self) -> dict[str, Any]:
        """Return the verdict as a dict for JSON."""
        return self._asdict() | {"seconds": round(self.seconds, 2)}


def verdicts(names: Sequence[str] = (), break_: str = "") -> Generator[PromiseVerdict]:
    """Carry out proofs, and yield the verdict on each promise as soon as it is reached.

    Args:
        names: Names of the proofs to carry out; if empty, all are carried out.
        break_: Name of a proof whose promise is broken on purpose, or ``all``.

    Raises:
        StorageError: No temporary folder can be created.
        ConfigError: No port is free.
    """
    with staged(break_) as stage:
        for proof in PROOFS:
            if not names or proof.name in names:
                yield verdict_of(stage, proof)


def verdict_of(stage: Stage, proof: Proof) -> PromiseVerdict:
    """Carry out a proof, and return the verdict; a proof that cannot be finished is a broken promise."""
    begun = time.monotonic()
    try:
        stage.scene(proof.name)
        seen = proof.run(stage)
        did, saw, broken, brief = seen.did, seen.saw, list(seen.broken), seen.brief
    except UnfinishedError as exc:
        did, saw, broken, brief = proof.run.__doc__ or "", "", [str(exc)], ("not finished", "")
    seconds = time.monotonic() - begun
    more = f" (and {len(broken) - 1} more, see --json)" if broken[1:] else ""
    return PromiseVerdict(
        proof.name,
        proof.promise,
        did,
        "; ".join(broken) or saw,
        not broken,
        seconds,
        f"{brief[0]}; {broken[0] + more if broken else brief[1]}",
    )
