"""Tell the user where vendors are divided about the splits and dividends of an answer."""

from __future__ import annotations

from typing import Any

from ...model.actions import Action
from ...model.coverage import Coverage
from ...model.instant import day_ms
from ...prices.disputes import ActionEvent
from ..ingest.commit import DOUBTFUL
from .answer import Rebased

_MOST = 16


def with_disputes(facts: dict[str, Any], done: Rebased, coverage: Coverage) -> dict[str, Any]:
    """Return entries of the provenance with those disputes, and one sentence among ``problems``.

    ``actions_disputed`` is only there where there is something to tell. Each entry holds ``action``
    (what was used), ``type``, ``ex_date``, ``source``, ``used`` (False: left out), ``settled``
    (False: as many vendors say something else) and ``others``, vendor to what it says. Where
    the bars of one vendor are adjusted by another word than those of the next there is an entry for
    each, and ``bars_of`` names the vendors.

    Args:
        facts: of the answer.
        done: its rows, with what was used for them.
        coverage: which vendor they are of.
    """
    said = []
    if done.borrowed:
        said.append(f"the splits and dividends are those of {', '.join(done.borrowed)}")
    if not done.disputed:
        return facts | {"problems": [*said, *facts["problems"]]}
    entries = [e for event in done.disputed for e in _entries(event, coverage)][:_MOST]
    problems = [_sentence(done, coverage), *said, *facts["problems"]]
    return facts | {"problems": problems, "actions_disputed": entries}


def doubts_of(done: Rebased, coverage: Coverage) -> list[str]:
    """Return what makes the whole answer doubtful: a split that as many deny or tell otherwise."""
    open_splits = [e for e in done.disputed if e.type == "split" and not e.is_settled]
    return [
        f"{DOUBTFUL}{_what(event, coverage)}, and neither has more vendors"
        for event in open_splits[:1]
    ]


def _sentence(done: Rebased, coverage: Coverage) -> str:
    events = done.disputed
    count = f"{len(events)} splits or dividends" if len(events) > 1 else "an action"
    what = _what(events[0], coverage)
    return f"vendors are divided about {count} that these prices depend on: {what}"


def _what(event: ActionEvent, coverage: Coverage) -> str:
    action = next(iter(_used(event, coverage)))
    way = "used" if event.counts else "left out"
    said = "; ".join(f"{vendor}: {said}" for vendor, said in dissent_of(event, action).items())
    return f"the {action} of {action.source} was {way} ({said})"


def _entries(event: ActionEvent, coverage: Coverage) -> list[dict[str, Any]]:
    used = _used(event, coverage)
    return [
        {
            "action": str(action),
            "type": action.type,
            "ex_date": action.ex_date.isoformat(),
            "source": action.source,
            "used": event.counts,
            "settled": event.is_settled,
            "others": dissent_of(event, action),
        }
        | ({"bars_of": vendors} if len(used) > 1 else {})
        for action, vendors in used.items()
    ]


def _used(event: ActionEvent, coverage: Coverage) -> dict[Action, list[str]]:
    """Return the words that count for the bars before the event, with the vendors of these bars."""
    ex_date = day_ms(event.action().ex_date)
    older = [c.vendor for c in coverage if c.state != "empty" and c.span.start < ex_date]
    used: dict[Action, list[str]] = {}
    for vendor in dict.fromkeys(older or [""]):
        used.setdefault(event.action(vendor), []).append(vendor)
    return used


def dissent_of(event: ActionEvent, action: Action) -> dict[str, str]:
    """Return vendor to what it says of an event otherwise than ``action``."""
    differing = {a.source: str(a) for a in event.dissent(action)}
    return differing | dict.fromkeys(event.silent, f"no {event.type} then")
