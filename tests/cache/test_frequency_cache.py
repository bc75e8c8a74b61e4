"""What is held in memory: bounded, and not emptied by what goes round."""

from __future__ import annotations

import os
import threading

import pytest

from src.data.cache.read.frequency_cache import _COUNTED, _LEAST, _MOST_USES, FrequencyCache
from tests.cache.test_columnar_processes import in_a_child


def gone_round(held: FrequencyCache[int, str], things: range, times: int) -> list[int]:
    """Ask for one thing after the other, again and again; return how many were held each time."""
    found = []
    for _ in range(times):
        hits = 0
        for thing in things:
            if held.find(thing) is not None:
                hits += 1
            else:
                held.hold(thing, "x", 1)
        found.append(hits)
    return found


@pytest.mark.parametrize("count", [50, 51, 75, 150, 500, 5000])
def test_as_many_as_there_is_room_for_stay_whatever_goes_round(count: int) -> None:
    hits = gone_round(FrequencyCache(50), range(count), 8)
    assert hits == [0, *[50] * 7]


def test_what_is_not_asked_for_any_more_gives_way() -> None:
    held: FrequencyCache[int, str] = FrequencyCache(50)
    assert gone_round(held, range(50), 40)[-1] == 50
    hits = gone_round(held, range(100, 150), 12)
    assert hits[0] == 0
    assert hits[-1] == 50
    assert held.peek(1) is None


def test_what_is_asked_for_often_is_not_pushed_out_by_what_is_asked_for_once() -> None:
    held: FrequencyCache[int, str] = FrequencyCache(10)
    gone_round(held, range(10), 3)
    gone_round(held, range(100, 5000), 1)
    assert gone_round(held, range(10), 1) == [10]


@pytest.mark.parametrize(
    ("sizes", "kept"),
    [([4, 4, 2], [0, 1, 2]), ([4, 4, 3], [0, 1]), ([11, 5], [1]), ([10], [0]), ([11], [])],
)
def test_no_more_is_held_than_there_is_room_for(sizes: list[int], kept: list[int]) -> None:
    held: FrequencyCache[int, str] = FrequencyCache(10)
    for thing, size in enumerate(sizes):
        held.find(thing)
        assert held.hold(thing, "x", size) is (thing in kept)
    assert [n for n in range(len(sizes)) if held.peek(n)] == kept
    assert (len(held), held.size) == (len(kept), sum(sizes[n] for n in kept))


@pytest.mark.parametrize(("size", "left"), [(2, 2), (3, 1)])
def test_a_large_newcomer_takes_the_room_of_several(size: int, left: int) -> None:
    held: FrequencyCache[str, str] = FrequencyCache(3)
    for name in "abc":
        held.hold(name, name, 1)
    for _ in range(2):
        held.find("large")
    assert held.hold("large", "large", size)
    assert (len(held), held.size) == (left, 3)


def test_the_same_thing_anew_takes_the_place_of_the_old_one() -> None:
    held: FrequencyCache[str, str] = FrequencyCache(3)
    assert held.hold("a", "old", 2)
    assert held.hold("a", "new", 3)
    assert (held.peek("a"), held.size, len(held)) == ("new", 3, 1)
    assert not held.hold("a", "too large", 4)
    assert (held.peek("a"), held.size) == (None, 0)


def test_what_is_dropped_or_cleared_is_gone() -> None:
    held: FrequencyCache[str, str] = FrequencyCache(3)
    for name in "abc":
        held.hold(name, name, 1)
    held.drop("a")
    held.drop("unknown")
    assert (held.find("a"), held.size) == (None, 2)
    held.clear()
    assert held._uses == {}
    assert (held.find("b"), held.size, len(held)) == (None, 0, 0)


def test_who_wants_to_know_is_told_once_what_is_held_no_longer() -> None:
    gone: list[tuple[str, str]] = []
    held: FrequencyCache[str, str] = FrequencyCache(2, lambda key, value: gone.append((key, value)))
    for name in "abc":
        held.hold(name, name, 1)
    assert (gone, held.peek("c")) == ([], None), "it was never held"
    held.hold("a", "new", 1)
    held.drop("b")
    held.drop("b")
    held.clear()
    assert gone == [("a", "a"), ("b", "b"), ("a", "new")]


def test_counts_of_what_was_asked_for_once_do_not_pile_up() -> None:
    held: FrequencyCache[int, str] = FrequencyCache(10)
    gone_round(held, range(20 * _LEAST), 1)
    assert len(held._uses) <= max(_LEAST, _COUNTED * 10) + 1


def test_what_was_asked_for_all_day_counts_no_more_than_so_often() -> None:
    held: FrequencyCache[str, str] = FrequencyCache(3)
    for _ in range(3 * _MOST_USES):
        held.find("a")
    assert held._uses == {"a": _MOST_USES}


@pytest.mark.parametrize(("things", "asked"), [(1, _LEAST), (101, _COUNTED * 100)])
def test_counts_are_kept_while_they_are_few_for_what_is_held(things: int, asked: int) -> None:
    held: FrequencyCache[int, str] = FrequencyCache(things)
    for thing in range(asked):
        held.find(thing)
        if thing < things:
            held.hold(thing, "x", 1)
    held.hold(0, "y", 1)
    assert len(held._uses) == asked
    held.find(asked)
    held.hold(0, "z", 1)
    assert len(held._uses) < asked


def test_counts_are_halved_once_in_a_while() -> None:
    held: FrequencyCache[str, str] = FrequencyCache(3)
    for _ in range(_LEAST):
        held.find("a")
    held.hold("a", "a", 1)
    assert held._uses == {"a": _MOST_USES}
    held.find("a")
    held.hold("a", "a", 1)
    assert held._uses == {"a": _MOST_USES // 2}
    held.hold("a", "a", 1)
    assert held._uses == {"a": _MOST_USES // 2}, "and not again at once"


def test_a_newcomer_that_is_refused_is_compared_with_another_one_next_time() -> None:
    held: FrequencyCache[str, str] = FrequencyCache(2)
    for name, uses in (("a", 7), ("b", 1)):
        for _ in range(uses):
            held.find(name)
        held.hold(name, name, 1)
    for _ in range(3):
        held.find("c")
    assert not held.hold("c", "c", 1)
    assert held.hold("c", "c", 1)
    assert (held.peek("a"), held.peek("b")) == ("a", None)


def test_whoever_takes_out_waits_for_who_puts_in() -> None:
    held: FrequencyCache[str, str] = FrequencyCache(3)
    held.hold("a", "a", 1)
    for take_out in (lambda: held.drop("a"), held.clear):
        with held._lock:
            thread = threading.Thread(target=take_out)
            thread.start()
            thread.join(0.02)
            assert thread.is_alive()
        thread.join()


def test_nobody_waits_for_another_thread() -> None:
    held: FrequencyCache[str, str] = FrequencyCache(3)
    with held._lock:
        assert not held.hold("a", "a", 1)
    assert held.find("a") is None


@pytest.mark.skipif(not hasattr(os, "fork"), reason="there is no fork here")
def test_a_child_has_a_lock_of_its_own() -> None:
    held: FrequencyCache[str, str] = FrequencyCache(3)

    def child() -> None:
        assert held.hold("a", "a", 1)
        held.drop("a")

    with held._lock:
        assert in_a_child(child) == 0


def test_threads_keep_the_sum_right() -> None:
    held: FrequencyCache[int, str] = FrequencyCache(40)

    def work(first: int) -> None:
        for turn in range(300):
            thing = (first + turn) % 60
            if held.find(thing) is None:
                held.hold(thing, "x", thing % 3 + 1)
            if turn % 7 == 0:
                held.drop(thing)

    threads = [threading.Thread(target=work, args=(first,)) for first in (0, 15, 30, 45)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert held.size == sum(entry.size for entry in held._held.values()) <= 40
