"""The tests of ``tests/core/net/test_shared_limiter.py`` with each state on another host."""

from __future__ import annotations

from tests.core.hosts.same_rules import _on_hosts as _on_hosts
from tests.core.net.test_shared_limiter import *  # noqa: F403 - tests and their fixtures

# Reports of another host, and a call without a guard: they look at the copy on a host that made no call.
for _name in (
    "test_the_count_of_the_vendor_is_used_if_it_is_higher",
    "test_charged_requests_and_resets_apply_to_all_processes",
    "test_a_vendor_without_limits_can_still_be_paused",
):
    del globals()[_name]
