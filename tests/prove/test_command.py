"""``onetape prove``: what it prints, how it ends, and what it leaves behind."""

from __future__ import annotations

import http.client
import json
import os
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import pytest

from src.data.cli import main
from src.data.prove.run import NAMES, PromiseVerdict
from src.data.prove.server import Server
from tests.cache.counts import FULL
from tests.programs import ROOT

Printed = pytest.CaptureFixture[str]
PROGRAM = [sys.executable, "-m", "src.data", "prove"]


@pytest.fixture
def temporary(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Return the folder in which the command makes its own; it is empty."""
    folder = tmp_path / "temporary"
    folder.mkdir()
    monkeypatch.setenv("TMPDIR", str(folder))
    monkeypatch.setattr("tempfile.tempdir", None)
    return folder


def verdict_of(name: str, *, is_kept: bool) -> PromiseVerdict:
    return PromiseVerdict(name, "Final", "steps", "details", is_kept, 1.25, "did this; saw that")


def given(monkeypatch: pytest.MonkeyPatch, *verdicts: PromiseVerdict) -> list[tuple[Any, ...]]:
    """Let these be the verdicts; return the arguments that the command passes on."""
    calls: list[tuple[Any, ...]] = []

    def made(*args: Any) -> Iterator[PromiseVerdict]:
        calls.append(args)
        yield from verdicts

    monkeypatch.setattr("src.data.prove.run.verdicts", made)
    return calls


def test_kept_promises_end_with_0(monkeypatch: pytest.MonkeyPatch, capsys: Printed) -> None:
    calls = given(monkeypatch, verdict_of("hole", is_kept=True))
    assert main(["prove", "--only", "hole"]) == 0
    assert calls == [(["hole"], "")]
    out = capsys.readouterr().out
    assert "✓  hole         kept: Final — did this; saw that" in out
    assert "\n1 promise kept, 0 broken, in " in out


def test_a_broken_promise_ends_with_1(monkeypatch: pytest.MonkeyPatch, capsys: Printed) -> None:
    given(monkeypatch, verdict_of("hole", is_kept=True), verdict_of("split", is_kept=False))
    monkeypatch.setenv("ONETAPE_PROVE_BREAK", "split")
    assert main(["prove"]) == 1
    printed = capsys.readouterr()
    assert "✗  split        broken: Final — did this; saw that" in printed.out
    assert "broken on purpose" in printed.err
    assert main(["prove", "--json"]) == 1
    told = json.loads(capsys.readouterr().out)
    assert told["broken_on_purpose"] == "split"
    assert told["summary"] == "1 promise kept, 1 broken"
    assert [(one["name"], one["is_kept"]) for one in told["promises"]] == [
        ("hole", True), ("split", False),
    ]  # fmt: skip


@pytest.mark.parametrize("name", ["holes", ""])
def test_an_unknown_name_is_refused_with_the_list(name: str, capsys: Printed) -> None:
    try:
        code: Any = main(["prove", "--only", name])
    except SystemExit as end:
        code = end.code
    assert code == 2
    err = capsys.readouterr().err
    assert all(known in err for known in NAMES)


def test_an_unknown_break_is_refused(monkeypatch: pytest.MonkeyPatch, capsys: Printed) -> None:
    monkeypatch.setenv("ONETAPE_PROVE_BREAK", "everything")
    assert main(["prove"]) == 2
    assert "use one of killed" in capsys.readouterr().err


def test_prove_without_a_port_is_an_error(
    monkeypatch: pytest.MonkeyPatch, temporary: Path, capsys: Printed
) -> None:
    def none_left(_: Server) -> None:
        raise OSError(98, "Address already in use")

    monkeypatch.setattr(Server, "server_bind", none_left)
    assert main(["prove"]) == 2
    assert "no port on 127.0.0.1 can be used: Address already in use" in capsys.readouterr().err
    assert not any(temporary.iterdir())


def test_prove_without_a_writable_folder_names_tmpdir(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, capsys: Printed
) -> None:
    monkeypatch.setattr("tempfile.tempdir", str(tmp_path / "none"))
    assert main(["prove"]) == 1
    assert "set TMPDIR" in capsys.readouterr().err


def programs_of(parent: int) -> list[int]:
    """Return the children of a process, and theirs."""
    children = Path(f"/proc/{parent}/task/{parent}/children")
    found = [int(one) for one in children.read_text().split()] if children.exists() else []
    return found + [other for one in found for other in programs_of(one)]


def is_running(process: int) -> bool:
    """Return whether a process is there, and not only waits to be collected by its parent."""
    try:
        return Path(f"/proc/{process}/stat").read_text().rpartition(")")[2].split()[0] != "Z"
    except (FileNotFoundError, ProcessLookupError):
        return False


def begun(arguments: Sequence[str] = ()) -> subprocess.Popen[str]:
    return subprocess.Popen(
        [*PROGRAM, *arguments], cwd=ROOT, text=True,
        stdout=subprocess.PIPE, stderr=subprocess.PIPE, start_new_session=True,
    )  # fmt: skip


@pytest.mark.skipif(not Path("/proc/self/task").exists(), reason="reads the list of processes")
@pytest.mark.parametrize("sent", [signal.SIGINT, signal.SIGTERM])
def test_an_interrupted_run_leaves_neither_processes_nor_files(
    temporary: Path, sent: signal.Signals
) -> None:
    program = begun()
    while not (others := programs_of(program.pid)):
        assert program.poll() is None
    assert [path.name[:14] for path in temporary.iterdir()] == ["onetape-prove-"]
    os.kill(program.pid, sent)
    _, err = program.communicate(timeout=60)
    assert (program.returncode, err) == (
        130,
        "onetape: interrupted; the temporary folder is removed\n",
    )
    assert not any(temporary.iterdir())
    assert not any(map(is_running, others))


@pytest.mark.skipif(not FULL, reason="three runs with all proofs: part of a full run")
def test_whole_runs_beside_each_other(temporary: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    runs = [begun(["--json"]), begun(["--json"])]
    monkeypatch.setenv("ONETAPE_PROVE_BREAK", "all")
    runs.append(begun(["--json"]))
    told = [json.loads(run.communicate()[0]) for run in runs]
    assert [run.returncode for run in runs] == [0, 0, 1]
    assert [[one["is_kept"] for one in t["promises"]] for t in told] == [
        [True] * 10, [True] * 10, [False] * 10,
    ]  # fmt: skip
    assert not any(temporary.iterdir())


@pytest.mark.skipif(not FULL, reason="loads the library once more: part of a full run")
def test_a_killed_run_leaves_no_process(temporary: Path) -> None:
    program = begun()
    while not (others := programs_of(program.pid)):
        assert program.poll() is None
    program.kill()
    program.communicate()
    until = time.monotonic() + 60
    while any(map(is_running, others)):
        assert time.monotonic() < until, "a process outlives the command"
    assert any(temporary.iterdir()), "nobody was left to remove it"


def test_no_name_is_resolved(monkeypatch: pytest.MonkeyPatch) -> None:
    def refused(*_: Any) -> Any:
        raise AssertionError("a name was looked up")

    monkeypatch.setattr(socket, "getfqdn", refused)
    monkeypatch.setattr(socket, "getaddrinfo", refused)
    server = Server(lambda: 0)
    server.server_close()
    assert server.url("yahoo").startswith("http://127.0.0.1:")


def test_an_address_without_the_token_is_not_answered() -> None:
    with Server(lambda: 0) as server:
        host, port = server.server_address[:2]
        connection = http.client.HTTPConnection(host, port, timeout=30)
        connection.request("GET", "/binance/api/v3/klines?symbol=BTCUSDT&interval=1h")
        assert connection.getresponse().status == 404
        connection.close()
        assert server.seen == []
