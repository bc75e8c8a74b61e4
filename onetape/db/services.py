"""Functions that read and change records, each call in a unit of work; see ``docs/database.md``."""

from __future__ import annotations

from typing import TYPE_CHECKING

from ..public import door

if TYPE_CHECKING:
    # Made by `make lists`.
    from ..data.db.services.base_service import BaseDBService as BaseDBService
    from ..data.db.services.base_service import handle_db_error as handle_db_error
    from ..data.db.services.base_service import with_uow as with_uow
    from ..data.db.services.database_service import DatabaseService as DatabaseService
    from ..data.db.services.database_service import ReposBundle as ReposBundle
    from ..data.db.services.database_service import database_service as database_service
    from ..data.db.services.database_service import get_database_service as get_database_service
    from ..data.db.services.database_service import init_databases as init_databases
    from ..data.db.services.jobs_service import JobsService as JobsService
    from ..data.db.services.telegram_service import TelegramService as TelegramService
    from ..data.db.services.telegram_service import new_verification_code as new_verification_code
    from ..data.db.services.telegram_service import telegram_service as telegram_service
    from ..data.db.services.trading_service import TradingService as TradingService
    from ..data.db.services.trading_service import (
        get_bot_configuration_schema as get_bot_configuration_schema,
    )
    from ..data.db.services.trading_service import trading_service as trading_service
    from ..data.db.services.users_service import UsersService as UsersService
    from ..data.db.services.users_service import users_service as users_service
else:
    __all__, __getattr__, __dir__ = door(__name__)
