"""Scripted vendors on a local socket, over a ground truth that knows the right answer."""

from __future__ import annotations

from .faults import Fault
from .ground_truth import Row, Truth
from .listings import Listing, dividend, split
from .server import VendorServer
from .wire import LogEntry

__all__ = ["Fault", "Listing", "LogEntry", "Row", "Truth", "VendorServer", "dividend", "split"]
