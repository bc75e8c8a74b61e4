"""Where the reference data lie: real recorded answers and real series, kept beside the repository."""

from __future__ import annotations

from pathlib import Path

import pytest

_SIBLING = Path(__file__).resolve().parents[2] / "shared"

REFERENCE: Path | None = _SIBLING if (_SIBLING / "recordings").is_dir() else None
needs_reference = pytest.mark.skipif(
    REFERENCE is None, reason="no reference data beside the repository"
)


def reference(*parts: str) -> Path:
    """Return a path inside the reference data; only for tests marked ``needs_reference``."""
    assert REFERENCE is not None
    return REFERENCE.joinpath(*parts)
