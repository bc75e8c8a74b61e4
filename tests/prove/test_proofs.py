"""Each proof on this machine: the promise is kept, and a promise that is broken is seen."""

from __future__ import annotations

import os
import signal
import site
import stat
import time
from pathlib import Path
from typing import Any

import pytest

from src.data.cli import main
from src.data.prove import checks
from src.data.prove.checks import PROOFS, Proof
from src.data.prove.run import NAMES, PromiseVerdict, verdict_of
from src.data.prove.stage import Process, Stage, UnfinishedError
from tests.cache.counts import FULL

from .conftest import Set

BROKEN = {
    "killed": "lost",
    "flipped-bit": "wrong bars after 2024.csv.gz was damaged",
    "two-writers": "lost",
    "hole": "bars of the other vendor",
    "half-bar": "the closed hour is not the true one",
    "split": "prices jump",
    "retry-after": "the next request came after",
    "full-disk": "stored bars are lost",
    "pinned": "another vendor was queried",
    "wrong-bars": "was not doubted",
}


@pytest.fixture(autouse=True)
def _fewer_processes(monkeypatch: pytest.MonkeyPatch) -> None:
    """Let the proofs repeat less: each repetition is a process."""
    if not FULL:
        monkeypatch.setattr(checks, "_KILLS", 2)
        monkeypatch.setattr(checks, "_DAYS_EACH", 1)
        monkeypatch.setattr(checks, "_FLIPS", (0.5,))


@pytest.mark.parametrize("proof", PROOFS, ids=NAMES)
def test_a_promise_is_kept_and_the_proof_can_fail(
    spoilt: Set, proof: Proof, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    verdict = verdict_of(spoilt.stage, proof)
    assert verdict.is_kept, verdict.saw
    printed = printed_of(verdict, monkeypatch, capsys)
    assert printed[0] == f"✓  {proof.name:11}  kept: {proof.promise} — {verdict.brief}"
    assert len(printed[0]) <= 100 and printed[1].startswith("1 promise kept")
    spoilt.stage.break_ = proof.name
    try:
        verdict = verdict_of(spoilt.stage, proof)
    finally:
        spoilt.stage.break_ = ""
    assert not verdict.is_kept
    assert BROKEN[proof.name] in verdict.saw
    printed = printed_of(verdict, monkeypatch, capsys)
    assert printed[0].startswith(f"✗  {proof.name:11}  broken: {proof.promise} — ")
    assert verdict.saw.partition("; ")[0].split()[-1] in "\n".join(printed)


def printed_of(
    verdict: PromiseVerdict,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> list[str]:
    """Return the lines that the command prints for a verdict on a screen of 100 columns."""
    with monkeypatch.context() as patch:
        patch.setenv("COLUMNS", "100")
        patch.setattr("src.data.prove.run.verdicts", lambda *_: (one for one in [verdict]))
        main(["prove"])
    return [line.rstrip() for line in capsys.readouterr().out.splitlines() if line.strip()]


def test_the_folder_is_closed_to_others_and_the_server_to_other_machines(spoilt: Set) -> None:
    assert stat.S_IMODE(spoilt.stage.folder.stat().st_mode) == 0o700
    assert spoilt.stage.server.server_address[0] == "127.0.0.1"


@pytest.mark.skipif(not Path("/proc/self/environ").exists(), reason="reads an environment")
def test_packages_of_this_user_are_found(spoilt: Set) -> None:
    process = spoilt.stage.start("ask_each", {"asks": [["BTCUSDT", "1h", "2024-06-01"]] * 9})
    spoilt.stage.result(process)
    words = Path(f"/proc/{process.pid}/environ").read_text().split("\0")
    process.kill()
    spoilt.stage.wait([process])
    assert f"PYTHONUSERBASE={site.getuserbase()}" in words


def test_proofs_do_not_touch_the_files_of_the_user(spoilt: Set) -> None:
    assert [path.name for path in spoilt.home.iterdir()] == ["rules.yaml"]


def test_a_process_that_does_not_answer_is_a_broken_promise(spoilt: Set) -> None:
    def stopped(_: object) -> checks.Observation:
        process = spoilt.stage.start("ask_each", {"asks": [["BTCUSDT", "1h", "2024-06-01"]] * 9})
        spoilt.stage.result(process)
        os.kill(process.pid, signal.SIGSTOP)
        process.reports.clear()
        spoilt.stage.result(process, 0.2)
        raise AssertionError("there was an answer")

    verdict = verdict_of(spoilt.stage, Proof("hole", "", stopped))
    assert (verdict.is_kept, verdict.saw[:17]) == (False, "no answer within ")


# Without those that expect an error, or that wait for an answer.
OF_BARS = {proof.name: proof for proof in PROOFS if proof.name not in ("pinned", "killed")}


@pytest.mark.parametrize("proof", OF_BARS.values(), ids=OF_BARS)
def test_an_error_in_place_of_bars_is_a_broken_promise(spoilt: Set, proof: Proof) -> None:
    def refused(stage: Stage) -> checks.Observation:
        for vendor in stage.server.vendors.values():
            vendor.refusals, vendor.refuses_always = [(451, {})], True
        heal, stage.server.heal = stage.server.heal, lambda: None
        try:
            return proof.run(stage)
        finally:
            stage.server.heal = heal

    verdict = verdict_of(spoilt.stage, proof._replace(run=refused))
    assert not verdict.is_kept and verdict.saw


def test_a_stored_file_that_cannot_be_read_is_a_broken_promise(
    spoilt: Set, monkeypatch: pytest.MonkeyPatch
) -> None:
    ask = spoilt.stage.ask

    def then_cut(*query: str, **options: Any) -> dict[str, Any]:
        answer = ask(*query, **options)
        [path] = spoilt.stage.cache.rglob("2024.csv.gz")
        os.truncate(path, path.stat().st_size // 2)
        return answer

    monkeypatch.setattr(spoilt.stage, "ask", then_cut)
    [proof] = (one for one in PROOFS if one.name == "split")
    verdict = verdict_of(spoilt.stage, proof)
    assert not verdict.is_kept and "2024.csv.gz is not a readable file" in verdict.saw


def test_a_process_that_fails_is_a_broken_promise_with_its_last_words(spoilt: Set) -> None:
    def failing(_: object) -> checks.Observation:
        spoilt.stage.ask("BTCUSDT", "1h", no_such_option=1)
        raise AssertionError("there was an answer")

    verdict = verdict_of(spoilt.stage, Proof("hole", "", failing))
    assert not verdict.is_kept
    assert "a process ended with 1" in verdict.saw


def test_limits_grow_with_the_measured_pace(spoilt: Set, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(spoilt.stage, "pace", 20.0)
    begun = time.monotonic()
    with pytest.raises(UnfinishedError):
        spoilt.stage.result(Process(), 0.01)
    assert 0.2 <= time.monotonic() - begun < 5


def test_the_server_is_small() -> None:
    text = Path(checks.__file__).with_name("server.py").read_text("utf-8")
    assert len(text.splitlines()) <= 200
