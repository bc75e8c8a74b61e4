"""Users and their identities, as functions: each is one unit of work.

The functions are the methods of :class:`~onetape.db.repos.UsersRepo`, and are
documented there. All are thread-safe; users are returned as detached objects with all their
attributes loaded.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from ..repos.repo_users import UsersRepo
from .base_service import BaseDBService, left_out, with_uow

__all__ = ["UsersService", "users_service"]

# For type checkers, a service has the methods of the repository; at run time, units of work run them.
if TYPE_CHECKING:
    _Methods = UsersRepo
else:
    _Methods = object


class UsersService(BaseDBService, _Methods, part="users", logic=UsersRepo):
    """The functions of this module as methods, for any database. Thread-safe."""

    @with_uow
    def create_user(  # type: ignore[override]
        self, email: str | None, role: str = "trader", is_active: bool = True
    ) -> dict[str, Any]:
        """Add a user, and return it as a dictionary with the columns as keys.

        Raises:
            QueryError: The address is invalid, or another user has it.
        """
        return self.repos.users.create_user(email, role, is_active).to_dict()

    @with_uow
    def list_users_for_broadcast(self) -> list[dict[str, Any]]:
        """Return each user's ``telegram_user_id``, ``email``, ``approved`` and ``verified``."""
        return self.repos.telegram.list_users()

    authenticate_user_by_email = staticmethod(left_out("authenticate_user_by_email"))
    authenticate_user_by_username = staticmethod(left_out("authenticate_user_by_username"))


users_service = UsersService()

get_user_by_telegram_id = users_service.get_user_by_telegram_id
get_telegram_profile = users_service.get_telegram_profile
ensure_user_for_telegram = users_service.ensure_user_for_telegram
update_telegram_profile = users_service.update_telegram_profile
list_telegram_users_dto = users_service.list_telegram_users_dto
list_pending_telegram_approvals = users_service.list_pending_telegram_approvals
list_users_for_broadcast = users_service.list_users_for_broadcast
get_admin_telegram_user_ids = users_service.get_admin_telegram_user_ids
create_user = users_service.create_user
get_user_by_id = users_service.get_user_by_id
get_user_notification_channels = users_service.get_user_notification_channels
authenticate_user_by_email = users_service.authenticate_user_by_email
authenticate_user_by_username = users_service.authenticate_user_by_username
