"""Users and their identities, as functions: each is one unit of work.

The functions are the methods of :class:`~onetape.data.db.repos.repo_users.UsersRepo`, and are
documented there. All are thread-safe; users are returned as detached objects with all their
attributes loaded.
"""

from __future__ import annotations

from typing import Any

from ..repos.repo_users import UsersRepo as _Logic
from .base_service import BaseDBService, left_out, reading, with_uow, writing

__all__ = ["UsersService", "users_service"]


class UsersService(BaseDBService):
    """The functions of this module as methods, for any database. Thread-safe."""

    part = "users"

    get_user_by_telegram_id = reading(_Logic.get_user_by_telegram_id, refused=None)
    get_telegram_profile = reading(_Logic.get_telegram_profile, refused=None)
    update_telegram_profile = writing(_Logic.update_telegram_profile)
    list_telegram_users_dto = reading(_Logic.list_telegram_users_dto)
    list_pending_telegram_approvals = reading(_Logic.list_pending_telegram_approvals)
    get_admin_telegram_user_ids = reading(_Logic.get_admin_telegram_user_ids)
    get_user_by_id = reading(_Logic.get_user_by_id, refused=None)
    get_user_notification_channels = reading(_Logic.get_user_notification_channels, refused=None)

    @with_uow
    def ensure_user_for_telegram(
        self, telegram_user_id: str | int, defaults_user: dict[str, Any] | None = None
    ) -> int:
        """Return the id of a chat's user, creating the user if necessary.

        ``defaults_user`` can contain the new user's ``email``, ``role`` and ``is_active``.
        """
        return self.repos.users.ensure_user_for_telegram(telegram_user_id, defaults_user)

    @with_uow
    def create_user(self, email: str, role: str, is_active: bool = True) -> dict[str, Any]:
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
