"""``onetape serve``: from the command to an answer, a bot beside ten browsers, a year of minutes as Arrow."""

from __future__ import annotations

import random
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from http.client import HTTPConnection
from pathlib import Path

import pyarrow as pa
import requests

from onetape.data.core.clock import ManualClock
from onetape.data.data_manager import DataManager
from onetape.data.server.bars import arrow_of

from .harness import Figure, Report, Row
from .stage import FETCHED, MINUTES, crowd_stage, long_stage

_NOTE = (
    "*Bare* is a page of Starlette without content, in a process that has imported pandas; the table "
    "shows the time from the start of a process to its answer as a multiple of that, and how many MB "
    "of memory more it uses then. The first page may contain *not examined yet*. *Requests* and *kB* "
    "are what a browser with an empty cache loads.\n\n"
    "A warm `get_ohlcv` of a year of daily bars in another process, while ten browsers ask for the "
    "first page every five seconds, is compared with the same without them. A year of minutes as "
    "Arrow over a socket is compared with `get_ohlcv` and writing the bytes to a file."
)
_BARE = """
import sys
import pandas, uvicorn
from starlette.applications import Starlette
from starlette.responses import Response
from starlette.routing import Route
app = Starlette(routes=[Route("/alive", lambda _: Response("{}"))])
uvicorn.run(app, host="127.0.0.1", port=int(sys.argv[1]), log_level="critical")
"""
_PAGE = {"Accept": "text/html"}
_ASSETS = ("/static/page.css", "/static/live.js")
_ROUNDS, _CALLS, _BROWSERS = 7, 60, 10
_GOAL = "bare >= 0.77, MB <= 80"


def measure() -> Report:
    """Start servers, and ask them."""
    with crowd_stage(50) as (manager, symbols):
        folder = manager.cache.store.root
        rows = _starts(folder)
        rows += [_page(folder), _beside(manager, symbols[0])]
    with long_stage(MINUTES) as manager:
        rows.append(_arrow(manager))
    return Report("Server", _NOTE, rows, more=("bare", "beside", "bytes"), less=("requests", "kB"))


@contextmanager
def _running(command: list[str]) -> Iterator[tuple[int, subprocess.Popen[bytes]]]:
    with socket.socket() as door:
        door.bind(("127.0.0.1", 0))
        port = door.getsockname()[1]
    words = [sys.executable, *(word.replace("PORT", str(port)) for word in command)]
    process = subprocess.Popen(words, cwd=Path(__file__).parents[1], stdout=-3, stderr=-3)
    try:
        yield port, process
    finally:
        process.kill()
        process.wait()


def _serving(folder: Path) -> list[str]:
    return ["-m", "onetape", "serve", "--port", "PORT", "--cache-dir", str(folder)]


def _answer(port: int, path: str) -> requests.Response:
    """Return the first answer of a server, which may be starting."""
    while True:
        try:
            return requests.get(f"http://127.0.0.1:{port}{path}", headers=_PAGE, timeout=60)
        except requests.ConnectionError:
            time.sleep(0.005)


def _starts(folder: Path) -> list[Row]:
    commands = {
        "bare": (["-c", _BARE, "PORT"], "/alive"),
        "an answer": (_serving(folder), "/alive"),
        "the first page": (_serving(folder), "/"),
    }
    results: dict[str, list[tuple[float, float]]] = {name: [] for name in commands}
    for _ in range(_ROUNDS):
        for name in random.sample(list(commands), len(commands)):
            command, path = commands[name]
            started = time.perf_counter()
            with _running(command) as (port, process):
                _answer(port, path)
                took = time.perf_counter() - started
                pages = int(Path(f"/proc/{process.pid}/statm").read_text().split()[1])
            results[name].append((took, pages * 4096 / 1e6))
    rows = []
    for name in ("an answer", "the first page"):
        pairs = list(zip(results["bare"], results[name], strict=True))
        figures = {
            "ms": Figure.of([ours[0] * 1e3 for _, ours in pairs]),
            "bare": Figure.of([bare[0] / ours[0] for bare, ours in pairs]),
            "MB": Figure.of([ours[1] - bare[1] for bare, ours in pairs]),
        }
        rows.append(Row(f"from the command to {name}", figures, _GOAL))
    return rows


def _page(folder: Path) -> Row:
    with _running(_serving(folder)) as (port, _):
        _answer(port, "/alive")
        times, sizes = list[float](), list[float]()
        for _ in range(_ROUNDS):
            started = time.perf_counter()
            answers = [_answer(port, path) for path in ("/", *_ASSETS)]
            times.append((time.perf_counter() - started) * 1e3)
            sizes.append(sum(len(answer.content) for answer in answers) / 1e3)
    figures = {"ms": Figure.of(times), "kB": Figure.of(sizes)}
    figures["requests"] = Figure.of([1.0 + len(_ASSETS)])
    return Row("the first page of 50 series", figures, "ms <= 800, kB <= 350, requests <= 6")


def _beside(manager: DataManager, symbol: str) -> Row:
    """Compare warm answers with and without browsers that poll a server on the same folder."""
    bot = DataManager(manager.cache.store.root, clock=ManualClock(FETCHED))
    series = (symbol, "1d", "2023-01-01", "2023-12-31")

    def timed() -> float:
        started = time.perf_counter()
        for _ in range(_CALLS):
            bot.get_ohlcv(*series).to_numpy().sum()
            time.sleep(0.01)  # as a bot that has other work
        return time.perf_counter() - started - 0.01 * _CALLS

    with _running(_serving(manager.cache.store.root)) as (port, _):
        _answer(port, "/")
        go, over = threading.Event(), threading.Event()

        def poll() -> None:
            while not over.is_set():
                if go.wait(0.1):
                    _answer(port, "/")
                    over.wait(5)

        browsers = [threading.Thread(target=poll) for _ in range(_BROWSERS)]
        for one in browsers:
            one.start()
        ratios = []
        timed()
        for _ in range(_ROUNDS):
            alone = timed()
            go.set()
            ratios.append(alone / timed())
            go.clear()
        over.set()
        for one in browsers:
            one.join()
    return Row("a warm answer beside ten browsers", {"beside": Figure.of(ratios)}, "beside >= 0.95")


def _arrow(manager: DataManager) -> Row:
    """Compare a year of minutes over a socket with the same bars written in this process."""
    series = ("BTCUSDT", "1m", "2023-01-01", "2023-12-31")
    place = manager.cache.store.root.parent / "bars.arrows"

    def here() -> int:
        return place.write_bytes(arrow_of(manager.get_ohlcv(*series)))

    path = "/v1/bars/BTCUSDT/1m?start=2023-01-01&end=2023-12-31"
    headers = {"Accept": "application/vnd.apache.arrow.stream"}
    with _running(_serving(manager.cache.store.root)) as (port, _):
        _answer(port, "/alive")
        buffer = bytearray(here())

        def served() -> int:
            line = HTTPConnection("127.0.0.1", port, timeout=60)
            line.request("GET", path, headers=headers)
            view, size = memoryview(buffer), 0
            with line.getresponse() as answer:
                while count := answer.readinto(view[size:]):
                    size += count
            return size

        served()
        assert pa.ipc.open_stream(buffer).read_all().num_rows == 365 * 1440
        results = [(_seconds(here), _seconds(served)) for _ in range(_ROUNDS)]
    figures = {
        "ms": Figure.of([ours * 1e3 for _, ours in results]),
        "bytes": Figure.of([theirs / ours for theirs, ours in results]),
    }
    return Row("a year of minutes as Arrow", figures, "bytes >= 0.5")


def _seconds(call: Callable[[], object]) -> float:
    started = time.perf_counter()
    call()
    return time.perf_counter() - started


if __name__ == "__main__":
    print(measure())
