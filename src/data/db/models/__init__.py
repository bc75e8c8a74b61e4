"""All models; imported before tables are created or compared, to complete the metadata."""

from __future__ import annotations

from .. import prices
from ..core.base import Base
from ..symbols import models as symbols
from ..universe import models as universe
from .model_jobs import Alert, Schedule, ScheduleRun
from .model_telegram import CommandAudit, Feedback, Setting
from .model_trading import BotInstance, PerformanceMetric, PerformanceMetrics, Position, Trade
from .model_users import AuthIdentity, TelegramUser, User, VerificationCode

__all__ = [
    "METADATA",
    "Alert",
    "AuthIdentity",
    "BotInstance",
    "CommandAudit",
    "Feedback",
    "PerformanceMetric",
    "PerformanceMetrics",
    "Position",
    "Schedule",
    "ScheduleRun",
    "Setting",
    "TelegramUser",
    "Trade",
    "User",
    "VerificationCode",
    "prices",
    "symbols",
    "universe",
]

METADATA = Base.metadata
