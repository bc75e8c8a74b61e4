"""The repositories of a unit of work; see ``docs/database.md``."""

from __future__ import annotations

from typing import TYPE_CHECKING

from ..public import door

if TYPE_CHECKING:
    # Made by `make lists`.
    from ..data.db.repos.repo_jobs import AlertsRepo as AlertsRepo
    from ..data.db.repos.repo_jobs import JobsRepository as JobsRepository
    from ..data.db.repos.repo_jobs import SchedulesRepo as SchedulesRepo
    from ..data.db.repos.repo_telegram import CommandAuditRepo as CommandAuditRepo
    from ..data.db.repos.repo_telegram import FeedbackRepo as FeedbackRepo
    from ..data.db.repos.repo_telegram import SettingsRepo as SettingsRepo
    from ..data.db.repos.repo_telegram import TelegramRepository as TelegramRepository
    from ..data.db.repos.repo_trading import BotsRepo as BotsRepo
    from ..data.db.repos.repo_trading import MetricsRepo as MetricsRepo
    from ..data.db.repos.repo_trading import PositionsRepo as PositionsRepo
    from ..data.db.repos.repo_trading import TradeRepository as TradeRepository
    from ..data.db.repos.repo_trading import TradesRepo as TradesRepo
    from ..data.db.repos.repo_users import UsersRepo as UsersRepo
    from ..data.db.repos.repo_users import VerificationRepo as VerificationRepo
else:
    __all__, __getattr__, __dir__ = door(__name__)
