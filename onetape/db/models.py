"""The tables of users, alerts, jobs and bots as classes; see ``docs/database.md``."""

from __future__ import annotations

from typing import TYPE_CHECKING

from ..public import door

if TYPE_CHECKING:
    # Made by `make lists`.
    from ..data.db.core.base import Base as Base
    from ..data.db.models.model_jobs import Alert as Alert
    from ..data.db.models.model_jobs import JobType as JobType
    from ..data.db.models.model_jobs import RunStatus as RunStatus
    from ..data.db.models.model_jobs import Schedule as Schedule
    from ..data.db.models.model_jobs import ScheduleCreate as ScheduleCreate
    from ..data.db.models.model_jobs import ScheduleResponse as ScheduleResponse
    from ..data.db.models.model_jobs import ScheduleRun as ScheduleRun
    from ..data.db.models.model_jobs import ScheduleRunCreate as ScheduleRunCreate
    from ..data.db.models.model_jobs import ScheduleRunResponse as ScheduleRunResponse
    from ..data.db.models.model_jobs import ScheduleRunUpdate as ScheduleRunUpdate
    from ..data.db.models.model_jobs import ScheduleUpdate as ScheduleUpdate
    from ..data.db.models.model_telegram import CommandAudit as CommandAudit
    from ..data.db.models.model_telegram import Feedback as Feedback
    from ..data.db.models.model_telegram import Setting as Setting
    from ..data.db.models.model_trading import BotInstance as BotInstance
    from ..data.db.models.model_trading import PerformanceMetrics as PerformanceMetrics
    from ..data.db.models.model_trading import Position as Position
    from ..data.db.models.model_trading import Trade as Trade
    from ..data.db.models.model_users import AuthIdentity as AuthIdentity
    from ..data.db.models.model_users import TelegramUser as TelegramUser
    from ..data.db.models.model_users import User as User
    from ..data.db.models.model_users import VerificationCode as VerificationCode
else:
    __all__, __getattr__, __dir__ = door(__name__)
