"""Schedules and runs of jobs: each method is one unit of work."""

from __future__ import annotations

from ..repos.repo_jobs import JobsRepository as _Logic
from .base_service import BaseDBService, reading, writing

__all__ = ["JobsService"]


class JobsService(BaseDBService):
    """The methods of :class:`~onetape.data.db.repos.repo_jobs.JobsRepository`, each as a unit of work.

    Schedules and runs are returned as detached objects with all their attributes loaded. Alerts and
    their runs are never included. Thread-safe.
    """

    part = "jobs"

    create_schedule = writing(_Logic.create_schedule)
    get_schedule = reading(_Logic.get_schedule, refused=None)
    list_schedules = reading(_Logic.list_schedules)
    update_schedule = writing(_Logic.update_schedule)
    delete_schedule = writing(_Logic.delete_schedule, refused=False)
    trigger_schedule = writing(_Logic.trigger_schedule)
    get_pending_schedules = reading(_Logic.get_pending_schedules)
    update_schedule_next_run = writing(_Logic.update_schedule_next_run, refused=False)
    update_schedule_state = writing(_Logic.update_schedule_state, refused=False)
    get_schedule_state = reading(_Logic.get_schedule_state, refused=None)

    create_run = writing(_Logic.create_run)
    get_run = reading(_Logic.get_run, refused=None)
    list_runs = reading(_Logic.list_runs)
    update_run = writing(_Logic.update_run)
    claim_run = writing(_Logic.claim_run, refused=None)
    get_pending_runs = reading(_Logic.get_pending_runs)
    cancel_run = writing(_Logic.cancel_run, refused=False)
    get_run_statistics = reading(_Logic.get_run_statistics)
    cleanup_old_runs = writing(_Logic.cleanup_old_runs)
