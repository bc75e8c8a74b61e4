"""Take one vendor's answer: check it, decide what it is, store what is good of it."""

from __future__ import annotations

import logging
from collections.abc import Mapping
from dataclasses import replace
from datetime import timedelta
from typing import Any

from ..cache.store import BarStore, Commit
from ..clock import Clock
from ..errors import KindMismatchError, StorageError
from ..model.bars import BarTable
from ..model.capabilities import Fetched
from ..model.instant import DAY_MS, date_of, day_ms
from ..model.rules import ValidationRules
from ..model.span import Span
from ..policy.adjust import BasisPart, rebase
from ..policy.finality import forming_stamp, next_due
from ..policy.quality import check
from .storing import Digest, Expiry, Held, basis_of, build_commit, digest
from .work import Work

log = logging.getLogger("onetape.routing")


class Taker:
    """Checks answers and commits them. Thread-safe: it keeps no state."""

    def __init__(
        self, store: BarStore, clock: Clock, expiry: Expiry, checks: ValidationRules
    ) -> None:
        self._store = store
        self._clock = clock
        self._expiry = expiry
        self._checks = checks

    def take(self, work: Work, fetched: Fetched, span: Span) -> Digest:
        """Check an answer, store what is good of it, and say what it was."""
        view = self._store.view(work.key)
        if view.kind is not None and not view.kind.agrees(fetched.kind):
            pairs = view.kind.differences(fetched.kind).items()
            text = ", ".join(
                f"{name} {theirs!r} (stored {mine!r})" for name, (mine, theirs) in pairs
            )
            raise KindMismatchError(
                f"{fetched.vendor} answered bars of another kind for {work.query}: {text}",
                provider=fetched.vendor, symbol=work.query.instrument.symbol,
            )  # fmt: skip
        now = self._clock.now_ms()
        checked = check(fetched.table, span, timeframe=work.grid.timeframe, now_ms=now,
                        expected=work.grid.opens(span))  # fmt: skip
        work.problems += checked.problems
        work.scores.append(checked.score)
        if checked.score < self._checks.min_quality_score:
            work.doubts.append(
                f"the answer of {fetched.vendor} scores {checked.score:.2f}, less than "
                f"{self._checks.min_quality_score:g}"
            )
        if not self._checks.check_gaps:
            fetched = replace(fetched, dense=False)
        found = digest(fetched, checked, span, work.grid, now)
        if len(found.forming):
            work.forming = found.forming
        self._store_actions(work, fetched, span)
        quality = {
            "score": checked.score, "validation_errors": list(checked.problems),
            "gaps": len(found.holes), "duplicates": checked.duplicates,
        }  # fmt: skip
        self._commit(work, fetched, found, view.first, quality)
        return found

    def _store_actions(self, work: Work, fetched: Fetched, span: Span) -> None:
        """Keep splits and dividends that came along, and that this stretch was asked for them."""
        candidate = next((c for c in work.lane.candidates if c.name == fetched.vendor), None)
        caps = candidate.capabilities if candidate else None
        if caps is None or not caps.actions or work.query.instrument.asset_class != "stock":
            return
        asked = Span(day_ms(date_of(span.start)), day_ms(date_of(span.end - 1)) + DAY_MS)
        self._store.add_actions(
            work.key.symbol, tuple(fetched.actions), asked, fetched.vendor, fetched.server_now_ms
        )

    def _commit(
        self,
        work: Work,
        fetched: Fetched,
        found: Digest,
        first_ever: int | None,
        quality: Mapping[str, Any],
    ) -> None:
        now = self._clock.now_ms()
        first = int(found.closed.stamps[0]) if len(found.closed) else found.answered.start
        basis = basis_of(fetched, first, work.query.instrument, self._last_opened(work, fetched))
        commit = build_commit(
            fetched, found, self._held(work, fetched, found), basis=basis,
            first_ever=first_ever, now_ms=now, expiry=self._expiry,
        )  # fmt: skip
        commit = self._with_due(work, fetched, found, commit)
        commit = replace(commit, quality=quality)
        try:
            self._store.commit(work.key, commit)
        except StorageError as error:
            # The bars are good and the caller wants them; they are asked again next time.
            log.warning("answer of %s could not be stored: %s", fetched.vendor, error)
            work.problems.append(f"not stored: {error}")
            work.unstored += commit.pieces

    def _held(self, work: Work, fetched: Fetched, found: Digest) -> Held:
        """Read what is stored of the answered stretch, as it is and in the answer's basis."""
        rows, coverage = self._store.read(work.key, found.answered)
        opened = self._last_opened(work, fetched)
        if not len(rows) or opened is None or fetched.basis.adjustment == "unknown":
            return Held(rows, rows, coverage)
        parts = [BasisPart(c.span, c.basis, c.vendor) for c in coverage if c.state != "empty"]
        actions = self._store.actions(work.key.symbol).actions
        try:
            rebased = rebase(rows, parts, actions, fetched.basis.adjustment,
                             as_of=date_of(opened), intraday=work.grid.timeframe.is_intraday)  # fmt: skip
        except KindMismatchError:
            # Bars of unknown basis are not comparable: the new answer replaces them.
            rebased = BarTable.empty()
        return Held(rows, rebased, coverage)

    def _last_opened(self, work: Work, fetched: Fetched) -> int | None:
        """Return the stamp of the last session that had opened when the answer was given."""
        if work.query.instrument.asset_class != "stock":
            return None
        today = date_of(fetched.server_now_ms)
        sessions = work.grid.calendar.sessions(
            today - timedelta(days=14), today + timedelta(days=1)
        )
        opened = [s.day for s in sessions if s.open_ms <= fetched.server_now_ms]
        return day_ms(opened[-1]) if opened else None

    def _with_due(self, work: Work, fetched: Fetched, found: Digest, commit: Commit) -> Commit:
        """Add when asking again could change the answer, if the answer reaches up to now."""
        now = min(self._clock.now_ms(), fetched.server_now_ms)
        grid = work.grid
        cap = forming_stamp(grid.calendar, grid.timeframe, now, grid.anchor)
        if found.answered.end < cap or found.unpublished is not None:
            return commit
        provisional = [p.span.start for p in commit.pieces if p.state == "provisional"]
        provisional += [m.span.start for m in commit.marks if m.state == "provisional"]
        # The last bar that could have come, not the last that did: a bar without trades is no delay.
        last = grid.back(cap, 1)
        due = next_due(
            grid.calendar, grid.timeframe, now_ms=now, settle_ms=fetched.settle_ms,
            last_stamp=last, provisional_from=min(provisional, default=None), anchor=grid.anchor,
        )  # fmt: skip
        return replace(commit, next_due=due)
