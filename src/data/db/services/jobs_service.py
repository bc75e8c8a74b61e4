"""Schedules and runs of jobs: each method is one unit of work."""

from __future__ import annotations

from typing import TYPE_CHECKING

from ..repos.repo_jobs import JobsRepository
from .base_service import BaseDBService

__all__ = ["JobsService"]

# For type checkers, a service has the methods of the repository; at run time, units of work run them.
if TYPE_CHECKING:
    _Methods = JobsRepository
else:
    _Methods = object


class JobsService(BaseDBService, _Methods, part="jobs", logic=JobsRepository):
    """The methods of :class:`~onetape.db.repos.JobsRepository`, each as a unit of work.

    Schedules and runs are returned as detached objects with all their attributes loaded. Alerts and
    their runs are never included. Thread-safe.
    """

    _reads = (
        "get_schedule? list_schedules get_pending_schedules get_schedule_state? get_run? list_runs "
        "get_pending_runs get_run_statistics"
    )
    _writes = (
        "create_schedule update_schedule change delete_schedule? update_schedule_next_run? "
        "update_schedule_state? trigger_schedule create_run update_run claim_run cancel_run? "
        "cleanup_old_runs"
    )
