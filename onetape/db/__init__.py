"""The optional database: symbols with their history, universes, stored alerts.

Using a name requires the ``db`` extra. A minor release may change these names, their results and stored data.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from ..public import door

if TYPE_CHECKING:
    # Made by `make lists`.
    from ..data.db.alert_records import StoredAlerts as StoredAlerts
    from ..data.db.core.database import Database as Database
    from ..data.db.core.database import SessionLocal as SessionLocal
    from ..data.db.core.database import adapted as adapted
    from ..data.db.core.database import get_database as get_database
    from ..data.db.core.database import locked as locked
    from ..data.db.symbols.models import Symbol as Symbol
    from ..data.db.symbols.processor import CorporateActionsProcessor as CorporateActionsProcessor
    from ..data.db.symbols.tables import import_changes as import_changes
    from ..data.db.symbols.tables import resolve as resolve
    from ..data.db.universe.definition import UniverseDefinition as UniverseDefinition
    from ..data.db.universe.manager import StoredUniverses as StoredUniverses
    from ..data.db.universe.manager import UniverseManager as UniverseManager
    from ..data.db.universe.manager import open_universes as open_universes
    from . import models as models
    from . import repos as repos
    from . import services as services
else:
    __all__, __getattr__, __dir__ = door(__name__)
