"""Tests the memory cache: bounded in bytes, least recently used entries removed first."""

from __future__ import annotations

import os
import threading

import pytest

from src.data.core.runtime import lru_cache
from src.data.core.runtime.lru_cache import LruCache
from tests.core.cache.busy import busy
from tests.core.cache.test_columnar_processes import in_a_child


def kept(memory: LruCache) -> str:
    return "".join(name for name in "abcd" if memory.get(name))


def test_the_least_recently_used_goes_first() -> None:
    memory = LruCache(3)
    for name in "abc":
        memory.put(name, name.upper(), 1)
    assert memory.get("a") == "A"
    memory.put("d", "D", 1)
    assert memory.get("b") is None
    memory.put("e", "E", 1)
    assert memory.get("c") is None
    assert (kept(memory), memory.get("e")) == ("ad", "E")


@pytest.mark.parametrize(
    ("sizes", "names"),
    [([4, 4, 2], "abc"), ([4, 4, 3], "bc"), ([11, 5], "b"), ([10], "a"), ([4, 4, 9], "c")],
)
def test_no_more_is_kept_than_there_is_room_for(sizes: list[int], names: str) -> None:
    memory = LruCache(10)
    for name, size in zip("abc", sizes, strict=False):
        memory.put(name, name, size)
    assert kept(memory) == names
    assert memory.size == sum(sizes["abc".index(name)] for name in names)


def test_a_newer_value_takes_the_place_of_the_old_one() -> None:
    memory = LruCache(3)
    memory.put("a", "old", 2)
    memory.put("a", "new", 3)
    assert (memory.get("a"), memory.size, len(memory)) == ("new", 3, 1)
    memory.put("a", "too large", 4)
    assert (memory.get("a"), memory.size) == (None, 0)


def test_a_dropped_entry_is_gone() -> None:
    memory = LruCache(3)
    for name in "ab":
        memory.put(name, name, 1)
    memory.drop("a")
    memory.drop("unknown")
    assert (memory.get("a"), memory.size, kept(memory)) == (None, 1, "b")


def test_a_small_machine_gets_a_smaller_cache(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(lru_cache, "all_memory", lambda: 1600)
    assert LruCache().most_bytes == 100


def test_a_thread_that_drops_waits_for_one_that_puts() -> None:
    memory = LruCache(3)
    memory.put("a", "a", 1)
    with busy(memory):
        thread = threading.Thread(target=lambda: memory.drop("a"))
        thread.start()
        thread.join(0.02)
        assert thread.is_alive()
    thread.join()
    assert kept(memory) == ""


def test_a_put_waits_for_no_other_thread() -> None:
    memory = LruCache(3)
    with busy(memory):
        memory.put("a", "a", 1)
    assert memory.get("a") is None


@pytest.mark.skipif(not hasattr(os, "fork"), reason="there is no fork here")
def test_a_child_has_a_lock_of_its_own() -> None:
    memory = LruCache(3)

    def child() -> None:
        memory.put("a", "a", 1)
        assert memory.get("a") == "a"
        memory.drop("a")

    with busy(memory):
        assert in_a_child(child) == 0


def test_threads_keep_the_sum_right() -> None:
    memory = LruCache(40)

    def work(first: int) -> None:
        for turn in range(300):
            key = (first + turn) % 60
            if memory.get(key) is None:
                memory.put(key, "x", key % 3 + 1)
            if turn % 7 == 0:
                memory.drop(key)

    threads = [threading.Thread(target=work, args=(first,)) for first in (0, 15, 30, 45)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    left = [key for key in range(60) if memory.get(key) is not None]
    assert memory.size == sum(key % 3 + 1 for key in left) <= 40
    assert len(memory) == len(left) > 0


def test_drop_where_drops_only_matching_entries() -> None:
    memory = LruCache(10)
    for name in "abc":
        memory.put((name,), name, 2)
    memory.drop_where(lambda key, value: key == ("a",) or value == "c")
    assert [memory.get((name,)) for name in "abc"] == [None, "b", None]
    assert (len(memory), memory.size) == (1, 2)
