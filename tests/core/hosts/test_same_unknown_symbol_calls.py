"""The tests of ``tests/core/net/test_unknown_symbol_calls.py`` with each state on another host."""

from __future__ import annotations

from tests.core.hosts.same_rules import _on_hosts as _on_hosts
from tests.core.net.test_unknown_symbol_calls import *  # noqa: F403 - tests and their fixtures

# What they say is of one file.
for _name in (
    "test_a_call_that_changes_no_report_writes_nothing",
    "test_the_number_of_reports_is_bounded",
    "test_an_unknown_symbol_that_expired_long_ago_is_deleted",
    "test_only_reports_of_unknown_symbols_that_still_hold_are_counted",
):
    del globals()[_name]
