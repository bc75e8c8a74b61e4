"""The tests of ``tests/core/net/test_own_network.py`` with each state on another host."""

from __future__ import annotations

from tests.core.hosts.same_rules import _on_hosts as _on_hosts
from tests.core.net.test_own_network import *  # noqa: F403 - tests and their fixtures
