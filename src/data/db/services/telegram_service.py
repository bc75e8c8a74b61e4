"""The records of a chat program, as functions: each is one unit of work.

The functions are the methods of :class:`~onetape.db.repos.TelegramRepository`,
and are documented there. If a value is rejected, functions that return a bool or None only log it;
the others raise :class:`~onetape.QueryError`. All are thread-safe::

    from onetape.db.services import telegram_service as db
    status = db.get_user_status("123456")
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from ..repos.repo_telegram import TelegramRepository
from ..repos.repo_users import new_code as new_verification_code
from .base_service import BaseDBService, left_out

__all__ = ["TelegramService", "new_verification_code", "telegram_service"]

# For type checkers, a service has the methods of the repository; at run time, units of work run them.
if TYPE_CHECKING:
    _Methods = TelegramRepository
else:
    _Methods = object


class TelegramService(BaseDBService, _Methods, part="telegram", logic=TelegramRepository):
    """The functions of this module as methods, for any database. Thread-safe."""

    _reads = (
        "list_users get_all_users get_user_status? count_codes_last_hour get_admin_user_ids get_user_limit? "
        "list_alerts get_alert? list_active_alerts get_active_alerts list_schedules get_schedule? "
        "get_schedule_by_id? get_active_schedules get_setting? list_feedback get_user_command_history "
        "get_all_command_audit get_command_audit_stats"
    )
    _writes = (
        "set_user_email set_verification_code verify_code? verify_user_email? "
        "reset_user_email_verification? approve_user? reject_user? update_user_language? create_admin "
        "set_user_limit set_user_daily_limit add_alert add_indicator_alert add_json_alert update_alert? "
        "delete_alert? add_schedule add_json_schedule update_schedule? delete_schedule? set_setting "
        "update_feedback_status? log_command_audit add_feedback"
    )

    get_broadcast_history = staticmethod(left_out("get_broadcast_history"))
    get_broadcast_stats = staticmethod(left_out("get_broadcast_stats"))
    log_broadcast = staticmethod(left_out("log_broadcast"))
    schedule_broadcast = staticmethod(left_out("schedule_broadcast"))


telegram_service = TelegramService()


def __getattr__(name: str) -> Any:
    """Return the function of the module with this name."""
    return getattr(telegram_service, name)
