"""Public names, their signatures and the commands are those of the snapshot."""

from __future__ import annotations

from pathlib import Path

from tests.contract.public_names import snapshot
from tests.contract.test_exports import DEEP_PATHS


def test_public_names_are_those_of_the_snapshot() -> None:
    kept = Path(__file__).with_name("public_names.txt").read_text("utf-8").splitlines()
    now = snapshot(DEEP_PATHS).splitlines()
    gone, new = sorted(set(kept) - set(now)), sorted(set(now) - set(kept))
    assert (gone, new) == ([], []), (
        "add these to the changelog, then: "
        "python -m tests.contract.public_names > tests/contract/public_names.txt"
    )
    assert len(now) > 1_000
