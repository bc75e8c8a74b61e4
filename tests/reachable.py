"""What an object keeps alive, whatever the names under which it keeps it."""

from __future__ import annotations

import gc
from collections.abc import Iterator
from types import CodeType, FrameType, FunctionType, ModuleType


def reachable(*roots: object) -> Iterator[object]:
    """Yield each object that can be reached, without what modules and classes hold for everyone."""
    waiting, seen = [*roots], set[int]()
    while waiting:
        one = waiting.pop()
        if id(one) in seen or isinstance(one, (ModuleType, type, FrameType, CodeType)):
            continue
        seen.add(id(one))
        yield one
        if isinstance(one, FunctionType):  # its globals are those of its module
            waiting += [one.__closure__, one.__defaults__, one.__kwdefaults__]
        else:
            waiting += gc.get_referents(one)
