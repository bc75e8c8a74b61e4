"""Keeps tests off the network, and programs that they start; there Python imports this by itself.

An audit hook, for it needs no import of its own: tests look at what a program has imported.
"""

from __future__ import annotations

import sys

_OURS = ("localhost", "::1", "::", "")


def _is_ours(host: object) -> bool:
    text = host.decode("ascii", "replace") if isinstance(host, bytes) else host
    return text is None or text in _OURS or str(text).startswith("127.") or text == "0.0.0.0"


def _refuse(event: str, args: tuple[object, ...]) -> None:
    if event in ("socket.connect", "socket.sendto"):
        address = args[1]
        host = address[0] if isinstance(address, tuple) and address else None
    elif event in ("socket.getaddrinfo", "socket.gethostbyname"):
        host = args[0]
    else:
        return
    if not _is_ours(host):
        # No OSError: the library would take that for a vendor that cannot be reached.
        raise RuntimeError(f"a test, or a program that it started, wants to reach {host!r}")


sys.addaudithook(_refuse)
