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

    _reads = (
        "get_user_by_id? get_identity? get_user_by_telegram_id? get_telegram_profile? "
        "list_telegram_users_dto list_pending_telegram_approvals get_admin_telegram_user_ids "
        "get_user_notification_channels?"
    )
    _writes = "owner_of ensure_user_for_telegram update_telegram_profile change_known?"

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


def __getattr__(name: str) -> Any:
    """Return the function of the module with this name."""
    return getattr(users_service, name)
