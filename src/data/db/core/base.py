"""The common base of all tables: constraint names, column types, the schema."""

from __future__ import annotations

from datetime import datetime
from decimal import Decimal
from typing import Any

from sqlalchemy import MetaData
from sqlalchemy.orm import DeclarativeBase

from .types import ExactDecimal, JsonDocument, UtcInstant

# Schema on PostgreSQL. SQLite has no schemas, so there it is translated to None.
SCHEMA = "backtester"
# On SQLite, no revision can change a constraint that has no name.
NAMES = {
    "ix": "ix_%(table_name)s_%(column_0_N_name)s",
    "uq": "uq_%(table_name)s_%(column_0_N_name)s",
    "ck": "ck_%(table_name)s_%(constraint_name)s",
    "fk": "fk_%(table_name)s_%(column_0_N_name)s",
    "pk": "pk_%(table_name)s",
}


class Base(DeclarativeBase):
    """The base class of all models; maps Python types to this library's column types."""

    metadata = MetaData(schema=SCHEMA, naming_convention=NAMES)
    type_annotation_map = {  # noqa: RUF012 - read by SQLAlchemy, as a class variable
        Decimal: ExactDecimal,
        datetime: UtcInstant,
        dict[str, Any]: JsonDocument,
        list[str]: JsonDocument,
    }
