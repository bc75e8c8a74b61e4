"""The tests of ``tests/net/test_shared_limiter.py`` with each state on another host."""

from __future__ import annotations

from tests.hosts.same_rules import _on_hosts as _on_hosts
from tests.net.test_shared_limiter import *  # noqa: F403 - tests and their fixtures

# Reports of another host, and a call without a guard: they look at the copy on a host that made no call.
for _name in (
    "test_where_the_vendor_counts_more_its_count_holds",
    "test_hidden_requests_count_and_a_reset_is_for_all",
    "test_a_vendor_without_limits_can_still_be_paused",
):
    del globals()[_name]
