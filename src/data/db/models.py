"""Every model, and so the whole metadata: imported before tables are made or compared."""

from __future__ import annotations

from .core.base import Base
from .symbols import models as symbols
from .universe import models as universe

__all__ = ["METADATA", "symbols", "universe"]

METADATA = Base.metadata
