"""A cache whose lock is held by another thread."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from contextlib import contextmanager

from src.data.core.runtime.lru_cache import LruCache

_PATIENCE_S = 20.0


class _SlowKey:
    """A key that is looked up for as long as it is wanted."""

    def __init__(self) -> None:
        self.looked_up, self.go_on = threading.Event(), threading.Event()

    def __hash__(self) -> int:
        self.looked_up.set()
        self.go_on.wait(_PATIENCE_S)
        return 0


@contextmanager
def busy(memory: LruCache) -> Iterator[None]:
    """Have another thread take a value out of ``memory`` for as long as the block runs."""
    key = _SlowKey()
    thread = threading.Thread(target=lambda: memory.drop(key), daemon=True)
    thread.start()
    try:
        assert key.looked_up.wait(_PATIENCE_S)
        yield
    finally:
        key.go_on.set()
        thread.join(_PATIENCE_S)
