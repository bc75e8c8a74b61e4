"""Tables of jobs: alerts, schedules, and the runs of both.

Alerts and schedules are rows of one table but two classes: a query for one never returns the
other.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from datetime import datetime
from enum import StrEnum
from typing import Any

from sqlalchemy import ForeignKey, Index, UniqueConstraint, case
from sqlalchemy.orm import Mapped, mapped_column

from ..core.base import Base
from ..core.texts import BoundedText
from .model_users import USER

__all__ = [
    "Alert",
    "JobType",
    "RunStatus",
    "Schedule",
    "ScheduleCreate",
    "ScheduleResponse",
    "ScheduleRun",
    "ScheduleRunCreate",
    "ScheduleRunResponse",
    "ScheduleRunUpdate",
    "ScheduleUpdate",
]


class JobType(StrEnum):
    """The type of a job."""

    SCHEDULE = "schedule"
    SCREENER = "screener"
    ALERT = "alert"
    NOTIFICATION = "notification"
    DATA_PROCESSING = "data_processing"
    BACKUP = "backup"
    REPORT = "report"
    SCRIPT = "script"


class RunStatus(StrEnum):
    """The status of a run."""

    PENDING = "pending"
    RUNNING = "running"
    COMPLETED = "completed"
    FAILED = "failed"
    CANCELLED = "cancelled"


class _Job(Base):
    """A row of the table that alerts and schedules share."""

    __tablename__ = "job_schedules"
    # Ids are never reused, because runs and chats still refer to them after rows are removed.
    __table_args__ = (
        Index(None, "user_id"),
        Index(None, "job_type", "enabled", "next_run_at"),
        {"sqlite_autoincrement": True},
    )

    id: Mapped[int] = mapped_column(primary_key=True)
    user_id: Mapped[int] = mapped_column(ForeignKey(USER, ondelete="CASCADE"))
    name: Mapped[str] = mapped_column(BoundedText(255))
    job_type: Mapped[str] = mapped_column(BoundedText(50))
    target: Mapped[str] = mapped_column(BoundedText(255))
    task_params: Mapped[dict[str, Any]] = mapped_column(default=dict)
    cron: Mapped[str] = mapped_column(BoundedText(100), default="")
    enabled: Mapped[bool] = mapped_column(default=True)
    next_run_at: Mapped[datetime | None]
    created_at: Mapped[datetime]
    updated_at: Mapped[datetime]
    state_json: Mapped[dict[str, Any] | None]

    __mapper_args__ = {  # noqa: RUF012 - read by SQLAlchemy, as a class variable
        "polymorphic_on": case((job_type == JobType.ALERT.value, "alert"), else_="schedule")
    }


class Alert(_Job):
    """The row of an alert; ``task_params`` contains its configuration, ``state_json`` its state.

    The alert that the job evaluates is another class, ``onetape.jobs.Alert``.
    """

    __mapper_args__ = {"polymorphic_identity": "alert"}  # noqa: RUF012 - as above


class Schedule(_Job):
    """A job that is due at the times (UTC) given by its ``cron`` line."""

    __mapper_args__ = {"polymorphic_identity": "schedule"}  # noqa: RUF012 - as above


class ScheduleRun(Base):
    """A run of a job; a process claims the run by inserting its row.

    For an alert, ``scheduled_for`` is the opening time of the bar, and ``result`` contains the
    events and the state of their delivery.
    """

    __tablename__ = "job_schedule_runs"
    __table_args__ = (
        UniqueConstraint("job_type", "job_id", "scheduled_for"),
        Index(None, "status", "job_type"),
        Index(None, "user_id"),
        {"sqlite_autoincrement": True},
    )

    id: Mapped[int] = mapped_column(primary_key=True)
    job_type: Mapped[str] = mapped_column(BoundedText(50))
    job_id: Mapped[str | None] = mapped_column(BoundedText(255))
    user_id: Mapped[int | None] = mapped_column(ForeignKey(USER, ondelete="CASCADE"))
    status: Mapped[str] = mapped_column(BoundedText(20), default=RunStatus.PENDING.value)
    scheduled_for: Mapped[datetime]
    enqueued_at: Mapped[datetime]
    started_at: Mapped[datetime | None]
    finished_at: Mapped[datetime | None]
    worker_id: Mapped[str | None] = mapped_column(BoundedText(255))
    job_snapshot: Mapped[dict[str, Any] | None]
    result: Mapped[dict[str, Any] | None]
    error: Mapped[str | None] = mapped_column(BoundedText())


@dataclass(frozen=True)
class ScheduleCreate:
    """A schedule to create; ``cron`` has five fields, in UTC."""

    name: str
    job_type: JobType | str
    target: str
    cron: str
    task_params: dict[str, Any] = field(default_factory=dict)
    enabled: bool = True


@dataclass(frozen=True)
class ScheduleUpdate:
    """Changes to a schedule; None leaves a value unchanged."""

    name: str | None = None
    target: str | None = None
    task_params: dict[str, Any] | None = None
    cron: str | None = None
    enabled: bool | None = None


@dataclass(frozen=True)
class ScheduleRunCreate:
    """A run to create."""

    job_type: JobType | str
    scheduled_for: datetime
    job_id: str | int | None = None
    job_snapshot: dict[str, Any] = field(default_factory=dict)


@dataclass(frozen=True)
class ScheduleRunUpdate:
    """Changes to a run; None leaves a value unchanged."""

    status: RunStatus | str | None = None
    started_at: datetime | None = None
    finished_at: datetime | None = None
    result: dict[str, Any] | None = None
    error: str | None = None


ScheduleResponse, ScheduleRunResponse = Schedule, ScheduleRun
