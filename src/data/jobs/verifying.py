"""An older import path of :mod:`onetape.data.jobs.verify`."""

from __future__ import annotations

from .verify import VerifyQuestion as Question
from .verify import verify, verify_with

__all__ = ["Question", "verify", "verify_with"]
