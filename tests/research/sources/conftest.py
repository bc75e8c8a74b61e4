"""A manager whose vendors are the scripted server, and a folder of bundles of each test's own."""

from __future__ import annotations

from tests.research.bundles.conftest import bundles, make, manager, rules

__all__ = ["bundles", "make", "manager", "rules"]
