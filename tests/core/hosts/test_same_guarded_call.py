"""The tests of ``tests/core/net/test_guarded_call.py`` with each state on another host."""

from __future__ import annotations

from tests.core.hosts.same_rules import _on_hosts as _on_hosts
from tests.core.net import test_guarded_call as source
from tests.core.net.test_guarded_call import *  # noqa: F403 - tests and their fixtures

# The first is about one file. The second holds in a host: hosts share circuits as facts, of which the
# last writer wins, so two hosts may begin a trial at the same instant.
for _name in (
    "test_a_healthy_circuit_is_not_stored_each_time",
    "test_exactly_one_of_all_callers_makes_the_trial_call",
):
    del globals()[_name]


class TestBlame(source.TestBlame):
    """The same, without what looks at the copy on a host that has made no call since."""

    test_bad_answers_in_a_row_open_the_circuit_for_all_processes = None  # type: ignore[assignment]
