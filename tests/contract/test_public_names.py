"""Public names, their signatures and the commands are those of the snapshot."""

from __future__ import annotations

from pathlib import Path

from tests.contract.public_names import snapshot
from tests.contract.test_exports import DEEP_PATHS

KEPT = Path(__file__).with_name("public_names.txt").read_text("utf-8")


def test_public_names_are_those_of_the_snapshot() -> None:
    kept, now = KEPT.splitlines(), snapshot(DEEP_PATHS).splitlines()
    gone, new = sorted(set(kept) - set(now)), sorted(set(now) - set(kept))
    assert (gone, new) == ([], []), "make lists; what was in the last release: also the changelog"
    assert kept == now, "a name has moved between the parts"
    assert len(now) > 1_000


def test_at_most_1400_lines_are_promised() -> None:
    promised, others, commands = (part.splitlines()[2:] for part in KEPT.split("# ")[1:])
    assert 500 < len(promised) <= 1_400
    assert any(line.startswith("onetape.DataManager.get_ohlcv(") for line in promised)
    assert any(line.startswith("onetape.bundles.Bundle") for line in others)
    assert any(line.startswith("onetape.yf.Ticker") for line in others)
    assert any(line.startswith("onetape fetch: ") for line in commands)


def test_a_member_is_listed_once() -> None:
    lines = [line.partition("(")[0] for line in KEPT.splitlines()]
    assert [line for line in lines if line.endswith(".candidates")] == [
        "onetape.DataError.candidates"
    ]
    assert [line for line in lines if line.endswith(".get_provider_name")] == [
        "onetape.vendors.BaseDataDownloader.get_provider_name"
    ]
