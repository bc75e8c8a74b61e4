"""The interface of the core for the folders above it, besides bars: calls, threads, foreign code, vendors.

``bars/client.py`` is the interface for bars, and ``wiring.py`` builds the services of an installation.
A name is looked up in its module when it is imported, so that the other modules are not loaded.
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

# Maps each module of the core to those of its names that are part of the interface.
HOMES = {
    # The time limit of a user's call, of a job, and of each request; the attempts made in a call.
    "net.calls.deadline": (
        "Deadline Wait recorded_call request_s run_call run_job run_reported seconds_of"
    ),
    # Async calls: threads that wait for bars on their behalf, and an event loop for blocking callers.
    "net.calls.call_threads": "LoopThread Threads answer awaited",
    # Waits before another attempt, and a check whether hosts can be reached.
    "net.http.retry": "RetryPolicy",
    "net.http.reach": "ReachResult reach_all",
    # Calls of a user's or plug-in's code, with errors whose texts contain no keys.
    "vendors.foreign": "call_foreign error_text fetch_bars mask_keys masked run_foreign",
    # The classes of all vendors, and their streams.
    "vendors.base": "BaseDataDownloader is_ours status_for",
    "vendors.factory": (
        "canonical_name creation_error downloader_class forget_registered keys_declared own_secrets "
        "register usable_class"
    ),
    "vendors.stream_protocol": "StreamProtocol stream_of",
    # Fundamentals: the fields, periods and limits of a query.
    "fundamentals.request": "Wish",
}

if TYPE_CHECKING:
    from .fundamentals.request import *
    from .net.calls.call_threads import *
    from .net.calls.deadline import *
    from .net.http.reach import *
    from .net.http.retry import *
    from .vendors.base import *
    from .vendors.factory import *
    from .vendors.foreign import *
    from .vendors.stream_protocol import *
else:

    def __getattr__(name: str) -> Any:
        """Return a name from its module."""
        for home, names in HOMES.items():
            if name in names.split():
                return getattr(import_module(f"{__package__}.{home}"), name)
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
