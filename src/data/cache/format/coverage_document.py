"""Coverage as it stands in documents."""

from __future__ import annotations

from collections.abc import Iterable

import msgspec

from ...model.coverage import Coverage, Covered, Splice, State
from ...model.frozen import filled
from ...model.kind import Basis, Kind
from ...model.span import Span

_NO_SPAN, _NO_KIND, _NO_BASIS = Span(0, 0), Kind(), Basis()


class SpliceDocument(msgspec.Struct, rename={"other": "with"}):
    """One of the ``splices`` of a stretch; see :class:`~..model.coverage.Splice`."""

    at: int
    other: str
    verdict: str
    ratio: float = 1.0
    common: int = 0
    because: str = ""


class SourceDocument(msgspec.Struct, kw_only=True):
    """What a stretch says but for its span, kind and basis; see :class:`~..model.coverage.Covered`."""

    state: State
    vendor: str = ""
    fetched_at: int = 0
    reason: str = ""
    expires: int | None = None
    splices: tuple[SpliceDocument, ...] = ()

    def covered(
        self,
        span: Span = _NO_SPAN,
        kind: Kind = _NO_KIND,
        basis: Basis = _NO_BASIS,
        parts: tuple[tuple[Covered, tuple[int, ...]], ...] = (),
    ) -> Covered:
        """Return the value, with what this does not say."""
        return filled(
            Covered,
            span=span,
            state=self.state,
            vendor=self.vendor,
            kind=kind,
            basis=basis,
            fetched_at=self.fetched_at,
            reason=self.reason,
            expires=self.expires,
            splices=tuple(Splice(*msgspec.structs.astuple(splice)) for splice in self.splices),
            parts=parts,
        )


class StretchDocument(SourceDocument, kw_only=True):
    """One entry of ``coverage`` or ``empties``; ``parts`` is what a folded one is made of."""

    span: Span
    kind: Kind = _NO_KIND
    basis: Basis = _NO_BASIS
    parts: tuple[tuple[SourceDocument, tuple[int, ...]], ...] = ()


def coverage_of(entries: Iterable[StretchDocument]) -> Coverage:
    """Return the coverage that a document lists."""
    return Coverage(
        entry.covered(
            entry.span,
            entry.kind,
            entry.basis,
            tuple((source.covered(), places) for source, places in entry.parts),
        )
        for entry in entries
    )
