"""Five hundred companies by several processes at the limit, one of them killed: nothing is asked twice."""

from __future__ import annotations

import fcntl
import os
import signal
import subprocess
import sys
import threading
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from src.data.core.clock import ManualClock
from src.data.core.filings.service import FOLDER
from src.data.core.model.time.instant import parse_iso
from src.data.core.vendors.sec.filings import SecDataDownloader
from src.data.data_manager import DataManager
from tests.core.cache.counts import FULL
from tests.vendor_server import Fault, VendorServer
from tests.vendor_server.face import Face, Reply, Request
from tests.vendor_server.sec import CONTACT, Sec, fact, facts, submissions

COUNT = 500 if FULL else 30
FIRST = 1000
PER_SECOND = 5
NOW_MS = parse_iso("2026-06-20T15:00:00")


class SharedClock:
    """A clock in a file: a wait of any process moves the time of all, and takes none."""

    def __init__(self, path: Path) -> None:
        self._path = path
        if not path.exists():
            path.write_text(f"{NOW_MS}")

    @contextmanager
    def _file(self) -> Iterator[int]:
        number = os.open(self._path, os.O_RDWR)
        try:
            fcntl.flock(number, fcntl.LOCK_EX)
            yield number
        finally:
            os.close(number)

    def now_ms(self) -> int:
        with self._file() as file:
            return int(os.pread(file, 20, 0))

    def monotonic(self) -> float:
        return (self.now_ms() - NOW_MS) / 1000

    def sleep(self, seconds: float) -> None:
        with self._file() as file:
            os.pwrite(file, str(int(os.pread(file, 20, 0)) + round(seconds * 1000)).encode(), 0)

    def jitter(self) -> float:
        return 0.0


PROGRAM = """
import sys
from pathlib import Path
from src.data.data_manager import DataManager
from tests.core.filings.test_many_companies import SharedClock
folder, first, step, count = Path(sys.argv[1]), *map(int, sys.argv[2:])
manager = DataManager(folder / "cache", folder / "rules.yaml", clock=SharedClock(folder / "clock"))
for number in range(first, count, step):
    symbol = f"QQ{number:03d}".translate(str.maketrans("0123456789", "ABCDEFGHIJ"))
    record = manager.get_fundamentals(symbol, providers=["sec"], data_type="statements")
    assert record["revenue"] == 1e6 + number, record
print("done")
"""


def started(folder: Path, *numbers: int) -> subprocess.Popen[str]:
    words = [sys.executable, "-c", PROGRAM, str(folder), *map(str, (*numbers, COUNT))]
    return subprocess.Popen(words, stdout=subprocess.PIPE, text=True)


def add_companies(sec: Sec) -> None:
    for number in range(COUNT):
        symbol = f"QQ{number:03d}".translate(str.maketrans("0123456789", "ABCDEFGHIJ"))
        cik = FIRST + number
        accession, filed = f"{cik:010d}-25-000001", "2025-02-03"
        row = (accession, "10-K", filed, f"{filed}T21:10:00.000Z", "2024-12-31", "")
        rows = [(*row, f"{symbol.lower()}-20241231.htm", 1)]
        sec.tickers.append((cik, symbol, symbol))
        sec.submissions[cik] = submissions(cik, symbol, [symbol], rows)
        one = fact(1e6 + number, "2024-12-31", accession, filed, start="2024-01-01")
        sec.facts[cik] = facts(cik, symbol, {"Revenues": {"USD": [one]}})


@pytest.mark.skipif(os.name == "nt", reason="no SIGKILL there")
def test_500_companies_by_processes_of_which_one_is_killed(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The first one asks for half of the companies; here of 30, in a full run of 500."""
    monkeypatch.setenv("SEC_CONTACT", CONTACT)
    clock = SharedClock(tmp_path / "clock")
    with VendorServer(clock) as server:
        url = server.base_url("sec")
        (tmp_path / "rules.yaml").write_text(f"providers: {{sec: {{base_url: '{url}'}}}}\n")
        sec = server.face("sec")
        assert isinstance(sec, Sec)
        add_companies(sec)
        programs = {"killed": started(tmp_path, 0, 1)}
        killed: list[str] = []

        def kill(face: Face, request: Request, now_ms: int) -> Reply:
            killed.append(request.path)
            os.kill(programs["killed"].pid, signal.SIGKILL)
            return Reply.text("too late")

        # A filer's facts are requested after its list, so this is in the middle of a company.
        middle = f"companyfacts/CIK{FIRST + COUNT // 2:010d}"
        server.fault("sec", Fault("kill", instead=kill), times=1, path=middle)
        assert programs["killed"].wait(600) == -signal.SIGKILL
        assert len(killed) == 1 and len(server.log("sec")) == 1 + 2 * (COUNT // 2) + 2
        for program in [started(tmp_path, first, 2) for first in (0, 1)]:
            assert program.communicate(timeout=600)[0] == "done\n" and program.returncode == 0
        log = server.log("sec")
        assert server.errors == []
    asked = Counter(entry.path for entry in log)
    assert len(asked) == 1 + 2 * COUNT
    again = {path for path, count in asked.items() if count > 1}
    assert again == set(killed) and asked[killed[0]] == 2, "only the answer that nobody received"
    times = [entry.time_ms for entry in log]
    assert SecDataDownloader.limits.per_second == PER_SECOND
    windows = zip(times, times[PER_SECOND:], strict=False)
    assert min(last - first for first, last in windows) >= 1000
    assert len(list((tmp_path / "cache" / FOLDER).glob("CIK*.gz"))) == 2 * COUNT
    assert not list((tmp_path / "cache" / FOLDER).glob("*former*"))


class WaitingClock(ManualClock):
    """A clock whose first wait lets the other caller's answer arrive, and ends with that caller."""

    def __init__(self, now_ms: int, go_on: Callable[[], None], ended: threading.Event) -> None:
        super().__init__(now_ms)
        self._go_on, self._ended = go_on, ended

    def sleep(self, seconds: float) -> None:
        self._go_on()
        assert self._ended.wait(60)
        super().sleep(seconds)


def test_two_programs_at_once_send_each_request_once(
    sec: Sec, vendors: VendorServer, clock: ManualClock, rules: Path, tmp_path: Path
) -> None:
    vendors.fault("sec", Fault.hold(), times=1)
    ended = threading.Event()
    found: list[object] = []

    def ask(own: ManualClock) -> None:
        manager = DataManager(tmp_path / "cache", rules, clock=own)
        found.append(len(manager.statement_lines("AAPL")))

    def ask_first() -> None:
        ask(clock)
        ended.set()

    first = threading.Thread(target=ask_first)
    first.start()
    assert vendors.wait_for("sec", 1)  # the answer to it is held
    second = WaitingClock(clock.now_ms(), vendors.heal, ended)
    ask(second)
    first.join(60)
    assert second.slept and found[0] == found[1]
    assert len(vendors.log("sec")) == 3
