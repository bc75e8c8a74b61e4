"""The records of a chat program, as functions: each is one unit of work.

The functions are the methods of :class:`~onetape.db.repos.TelegramRepository`,
and are documented there. If a value is rejected, functions that return a bool or None only log it;
the others raise :class:`~onetape.QueryError`. All are thread-safe::

    from onetape.db.services import telegram_service as db
    status = db.get_user_status("123456")
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from ..repos.repo_users import new_code as new_verification_code
from ..repos.telegram_repository import TelegramRepository
from .base_service import BaseDBService, left_out

__all__ = ["TelegramService", "new_verification_code", "telegram_service"]

# For type checkers, a service has the methods of the repository; at run time, units of work run them.
if TYPE_CHECKING:
    _Methods = TelegramRepository
else:
    _Methods = object


class TelegramService(BaseDBService, _Methods, part="telegram", logic=TelegramRepository):
    """The functions of this module as methods, for any database. Thread-safe."""

    get_broadcast_history = staticmethod(left_out("get_broadcast_history"))
    get_broadcast_stats = staticmethod(left_out("get_broadcast_stats"))
    log_broadcast = staticmethod(left_out("log_broadcast"))
    schedule_broadcast = staticmethod(left_out("schedule_broadcast"))


telegram_service = TelegramService()

list_users = telegram_service.list_users
get_all_users = telegram_service.get_all_users
get_user_status = telegram_service.get_user_status
set_user_email = telegram_service.set_user_email
verify_code = telegram_service.verify_code
set_verification_code = telegram_service.set_verification_code
count_codes_last_hour = telegram_service.count_codes_last_hour
approve_user = telegram_service.approve_user
reject_user = telegram_service.reject_user
verify_user_email = telegram_service.verify_user_email
reset_user_email_verification = telegram_service.reset_user_email_verification
update_user_language = telegram_service.update_user_language
create_admin = telegram_service.create_admin
set_user_limit = telegram_service.set_user_limit
get_user_limit = telegram_service.get_user_limit
set_user_daily_limit = telegram_service.set_user_daily_limit
get_admin_user_ids = telegram_service.get_admin_user_ids
add_alert = telegram_service.add_alert
add_indicator_alert = telegram_service.add_indicator_alert
add_json_alert = telegram_service.add_json_alert
list_alerts = telegram_service.list_alerts
get_alert = telegram_service.get_alert
update_alert = telegram_service.update_alert
delete_alert = telegram_service.delete_alert
get_active_alerts = telegram_service.get_active_alerts
list_active_alerts = telegram_service.list_active_alerts
add_schedule = telegram_service.add_schedule
add_json_schedule = telegram_service.add_json_schedule
list_schedules = telegram_service.list_schedules
get_schedule = telegram_service.get_schedule
get_schedule_by_id = telegram_service.get_schedule_by_id
update_schedule = telegram_service.update_schedule
delete_schedule = telegram_service.delete_schedule
get_active_schedules = telegram_service.get_active_schedules
get_setting = telegram_service.get_setting
set_setting = telegram_service.set_setting
add_feedback = telegram_service.add_feedback
list_feedback = telegram_service.list_feedback
update_feedback_status = telegram_service.update_feedback_status
log_command_audit = telegram_service.log_command_audit
get_user_command_history = telegram_service.get_user_command_history
get_all_command_audit = telegram_service.get_all_command_audit
get_command_audit_stats = telegram_service.get_command_audit_stats
get_broadcast_history = telegram_service.get_broadcast_history
get_broadcast_stats = telegram_service.get_broadcast_stats
log_broadcast = telegram_service.log_broadcast
schedule_broadcast = telegram_service.schedule_broadcast
