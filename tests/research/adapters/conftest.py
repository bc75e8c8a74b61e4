"""A manager whose vendors are the scripted server."""

from __future__ import annotations

from tests.e2e.conftest import make, manager, rules

__all__ = ["make", "manager", "rules"]
