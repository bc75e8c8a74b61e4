"""Tell the user where vendors are divided about the splits and dividends of an answer."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from ..policy.disputes import Event
from .terms import DOUBTFUL

_MOST = 16


def with_disputes(facts: dict[str, Any], disputed: Sequence[Event]) -> dict[str, Any]:
    """Return entries of the provenance with those disputes, and one sentence among ``problems``.

    ``actions_disputed`` is only there where there is something to tell. Each entry holds ``action``
    (what was used), ``type``, ``ex_date``, ``source``, ``used`` (False: left out), ``settled``
    (False: as many vendors say something else) and ``others``, vendor to what it says.
    """
    if not disputed:
        return facts
    told = [_entry(event) for event in disputed[:_MOST]]
    return facts | {"problems": [_sentence(disputed), *facts["problems"]], "actions_disputed": told}


def doubts_of(disputed: Sequence[Event]) -> list[str]:
    """Return what makes the whole answer doubtful: a split that as many deny or tell otherwise."""
    open_splits = [e for e in disputed if e.type == "split" and not e.is_settled]
    return [f"{DOUBTFUL}{_what(event)}, and neither has more vendors" for event in open_splits[:1]]


def _sentence(disputed: Sequence[Event]) -> str:
    count = f"{len(disputed)} splits or dividends" if len(disputed) > 1 else "an action"
    return f"vendors are divided about {count} that these prices depend on: {_what(disputed[0])}"


def _what(event: Event) -> str:
    action, others = event.action(), _others(event)
    way = "used" if event.counts else "left out"
    said = "; ".join(f"{vendor}: {said}" for vendor, said in others.items())
    return f"the {action} of {action.source} was {way} ({said})"


def _entry(event: Event) -> dict[str, Any]:
    action = event.action()
    return {
        "action": str(action),
        "type": action.type,
        "ex_date": action.ex_date.isoformat(),
        "source": action.source,
        "used": event.counts,
        "settled": event.is_settled,
        "others": _others(event),
    }


def _others(event: Event) -> dict[str, str]:
    differing = {a.source: str(a) for a in event.dissent(event.action())}
    return differing | dict.fromkeys(event.silent, f"no {event.type} then")
