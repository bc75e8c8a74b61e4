"""The one base of all tables: names of constraints, types of columns, the schema."""

from __future__ import annotations

from datetime import datetime
from decimal import Decimal
from typing import Any

from sqlalchemy import MetaData
from sqlalchemy.orm import DeclarativeBase

from .types import ExactDecimal, JsonDocument, UtcInstant

# On PostgreSQL; SQLite has none, there it is translated to None.
SCHEMA = "backtester"
# A constraint without a name can be changed by no revision on SQLite.
NAMES = {
    "ix": "ix_%(table_name)s_%(column_0_N_name)s",
    "uq": "uq_%(table_name)s_%(column_0_N_name)s",
    "ck": "ck_%(table_name)s_%(constraint_name)s",
    "fk": "fk_%(table_name)s_%(column_0_N_name)s",
    "pk": "pk_%(table_name)s",
}


class Base(DeclarativeBase):
    """What every model derives from; ``Decimal``, ``datetime`` and ``dict[str, Any]`` get our types."""

    metadata = MetaData(schema=SCHEMA, naming_convention=NAMES)
    type_annotation_map = {  # noqa: RUF012 - read by SQLAlchemy, as a class variable
        Decimal: ExactDecimal,
        datetime: UtcInstant,
        dict[str, Any]: JsonDocument,
        list[str]: JsonDocument,
    }
