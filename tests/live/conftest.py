"""What the tests of real vendors share: they run on request only, and say first what they ask."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from tests.live.vendors import TABLE, announcement

WANTED = bool(os.environ.get("ONETAPE_LIVE"))
collect_ignore_glob = [] if WANTED else ["test_*.py"]


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Open the network to these tests, and to no others."""
    for item in items:
        if item.path.parent == Path(__file__).parent:
            item.add_marker(pytest.mark.enable_socket)


def pytest_collection_finish(session: pytest.Session) -> None:
    """Tell, before the first request, who is asked for what."""
    if not (WANTED and session.items):
        return
    reporter = session.config.pluginmanager.get_plugin("terminalreporter")
    if reporter is not None:
        for line in announcement():
            reporter.write_line(line)


def pytest_sessionfinish(session: pytest.Session, exitstatus: int) -> None:
    """Print the table of the answers, and fail where no vendor answered: nothing was proved then."""
    reporter = session.config.pluginmanager.get_plugin("terminalreporter")
    if not WANTED or reporter is None:
        return
    for line in ("", *session.config.stash.get(TABLE, ())):
        reporter.write_line(line)
    if exitstatus != pytest.ExitCode.OK:
        return
    if not reporter.stats.get("passed"):
        reporter.write_line("\nno vendor answered, so nothing is proved", red=True)
        session.exitstatus = pytest.ExitCode.TESTS_FAILED


@pytest.fixture(autouse=True)
def state_dir() -> None:
    """Leave the user's own state folder in use: these requests count for real limits."""
