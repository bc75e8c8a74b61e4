"""Tests are kept off the network, and so are the programs that they start."""

from __future__ import annotations

import socket
import subprocess
import sys
from pathlib import Path

import pytest

from tests.core.cache.counts import FULL

TESTS = Path(__file__).parents[1]
# Looks at wheels in environments of their own, without the modules of this machine (`-S`).
ALONE = TESTS / "packaging" / "build.py"


ATTEMPTS = [
    "socket.create_connection(('192.0.2.1', 443), 0.2)",
    "socket.getaddrinfo('vendor.example', 443)",
    "socket.socket(socket.AF_INET, socket.SOCK_DGRAM).sendto(b'x', ('192.0.2.1', 53))",
    "http.client.HTTPSConnection('vendor.example').connect()",
    *(["__import__('requests').get('https://vendor.example')"] if FULL else []),
]
ATTEMPTING = """
import http.client, socket, sys
for attempt in sys.argv[1:]:
    try:
        eval(attempt)
    except RuntimeError as error:
        print(error)
"""


def test_a_program_cannot_reach_out() -> None:
    done = subprocess.run(
        [sys.executable, "-c", ATTEMPTING, *ATTEMPTS],
        capture_output=True, text=True, timeout=300, check=True,
    )  # fmt: skip
    refused = done.stdout.splitlines()
    assert len(refused) == len(ATTEMPTS)
    assert all("a test, or a program that it started, wants to reach" in one for one in refused)


def test_a_test_looks_up_no_name_of_another_machine() -> None:
    with pytest.raises(RuntimeError, match=r"wants to reach 'vendor\.example'"):
        socket.getaddrinfo("vendor.example", 443)


def test_a_program_reaches_this_machine() -> None:
    code = (
        "import socket; door = socket.create_server(('127.0.0.1', 0));"
        "socket.create_connection(door.getsockname()).close();"
        "socket.getaddrinfo('localhost', 1)"
    )
    subprocess.run([sys.executable, "-c", code], timeout=300, check=True)


def test_no_test_takes_the_guard_away() -> None:
    """A test that sets up its program's environment names the guarded path, or keeps ours."""
    for path in TESTS.rglob("*.py"):
        if path in (ALONE, Path(__file__), TESTS / "programs.py"):
            continue
        for number, line in enumerate(path.read_text().splitlines(), 1):
            if '"PYTHONPATH":' in line and '"PYTHONPATH": PYTHONPATH' not in line:
                raise AssertionError(f"{path.relative_to(TESTS)}:{number}")
