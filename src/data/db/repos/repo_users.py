"""Users, their identities in a chat, and the codes that verify addresses."""

from __future__ import annotations

import hmac
import re
import secrets
from collections.abc import Iterable
from typing import Any

from sqlalchemy import Select, bindparam, func, select

from ...core.model.words.suggestion import check_names
from ...errors import QueryError
from ..core.database import locked
from ..core.texts import checked_text
from ..models.model_users import AuthIdentity, User, VerificationCode
from .rows import Repository, claim, flag, page

__all__ = ["TELEGRAM", "UsersRepo", "VerificationRepo", "new_code"]

TELEGRAM = "telegram"
# Keys that an identity's metadata may have, grouped by the type of their values.
_FLAGS = ("verified", "approved", "is_admin")
LIMITS = ("max_alerts", "max_schedules")
_COUNTS = (*LIMITS, "daily_limit")
# Pattern of an address. Other characters are not allowed, because they could make a mail program
# run commands or write to files.
_EMAIL = re.compile(
    r"[A-Za-z0-9][A-Za-z0-9._%+-]{0,63}@[A-Za-z0-9]([A-Za-z0-9.-]{0,187}[A-Za-z0-9])?"
)
_LANGUAGE = re.compile(r"[A-Za-z]{2,8}([-_][A-Za-z0-9]{1,8}){0,3}")
_WRONG_TRIES, _HOUR_S, _SKEW_S = 5, 3_600, 300


def new_code() -> str:
    """Return a random code of six digits, which cannot be guessed from earlier codes."""
    return f"{secrets.randbelow(1_000_000):06}"


# Built once, and for tables instead of models, because building the statement and row objects takes
# longer than running it.
_identities, _users = AuthIdentity.__table__.c, User.__table__.c
_PROFILES = (
    select(_identities.user_id, _identities.external_id, _identities.metadata, _users.email)
    .join_from(AuthIdentity.__table__, User.__table__, _identities.user_id == _users.id)
    .where(_identities.provider == bindparam("provider"))
    .order_by(_identities.id)
)
_PROFILE = _PROFILES.where(_identities.external_id == bindparam("external_id"))


class UsersRepo(Repository):
    """Stores and queries users and their identities in channels such as Telegram."""

    model = User

    def create_user(self, email: str | None, role: str = "trader", is_active: bool = True) -> User:
        """Add a user.

        Raises:
            QueryError: The address is invalid, or another user has it.
        """
        now = self.now()
        values = {"role": role, "is_active": is_active, "created_at": now, "updated_at": now}
        if email is None:
            user = User(**values)
            self.session.add(user)
            self.session.flush()
            return user
        email = checked_email(email)
        if self.owner_of(email) or claim(self.session, User, email=email, **values) is None:
            raise QueryError("another user has this e-mail address", hint="use another address")
        return self.session.scalars(select(User).where(User.email == email)).one()

    def owner_of(self, email: str) -> int | None:
        """Return the id of the user who has verified an address, ignoring case, or None."""
        same = func.lower(User.email) == email.lower()
        return self.session.scalars(select(User.id).where(same).order_by(User.id)).first()

    def get_user_by_id(self, user_id: int) -> User | None:
        """Return a user, or None if the user does not exist."""
        return self.session.get(User, user_id)

    def get_identity(self, provider: str, external_id: str | int) -> AuthIdentity | None:
        """Return a user's identity in a channel, or None if it is unknown."""
        return self.session.scalars(_identity_query(external_id, provider)).one_or_none()

    def get_user_by_telegram_id(self, telegram_user_id: str | int) -> User | None:
        """Return the user who owns a chat, or None if the chat is unknown."""
        identity = self.get_identity(TELEGRAM, telegram_user_id)
        return None if identity is None else self.session.get(User, identity.user_id)

    def ensure_user_for_telegram(
        self,
        telegram_user_id: str | int,
        defaults_user: dict[str, Any] | None = None,
        provider: str = TELEGRAM,
    ) -> int:
        """Return the id of a chat's user, creating the user if necessary.

        ``defaults_user`` can contain the new user's ``email``, ``role`` and ``is_active``.
        """
        identity = self.get_identity(provider, telegram_user_id)
        if identity is not None:
            return identity.user_id
        external_id = checked_id(telegram_user_id)
        defaults = dict(defaults_user or {})
        if unknown := set(defaults) - {"email", "role", "is_active"}:
            raise QueryError(f"a user has no field {min(unknown)!r:.80}")
        user = self.create_user(defaults.pop("email", None), **defaults)
        values = {"provider": provider, "external_id": external_id, "metadata_json": {}}
        if (
            claim(self.session, AuthIdentity, user_id=user.id, created_at=self.now(), **values)
            is None
        ):
            # Another unit was faster, so its user is returned.
            self.session.delete(user)
            self.session.flush()
            return self.session.scalars(_identity_query(external_id, provider)).one().user_id
        return user.id

    def lock_identity(
        self, telegram_user_id: str | int, provider: str = TELEGRAM
    ) -> AuthIdentity | None:
        """Lock an identity until the unit of work ends, and return it; None if it does not exist."""
        return locked(self.session, _identity_query(telegram_user_id, provider)).one_or_none()

    def lock_or_make(self, telegram_user_id: str | int, provider: str = TELEGRAM) -> AuthIdentity:
        """Lock an identity until the unit of work ends, and return it; create it if necessary."""
        identity = None
        while identity is None:  # another unit may remove the user before it is locked
            self.ensure_user_for_telegram(telegram_user_id, provider=provider)
            identity = self.lock_identity(telegram_user_id, provider)
        return identity

    def update_telegram_profile(self, /, telegram_user_id: str | int, **fields: Any) -> None:
        """Change a user's rights, limits and language, creating the user if necessary.

        The value None removes a limit.

        Raises:
            QueryError: A field is unknown, or its value is invalid.
        """
        values = {name: _checked(name, value) for name, value in fields.items()}
        self.lock_or_make(telegram_user_id).metadata_json.update(values)

    def change_known(self, telegram_user_id: str | int, **fields: Any) -> bool:
        """Change an existing user as :meth:`update_telegram_profile` does.

        Return whether the user exists.
        """
        values = {name: _checked(name, value) for name, value in fields.items()}
        identity = self.lock_identity(telegram_user_id)
        if identity is None:
            return False
        identity.metadata_json.update(values)
        return True

    def get_telegram_profile(self, telegram_user_id: str | int) -> dict[str, Any] | None:
        """Return a user's id, address, rights and limits, or None if the user is unknown."""
        values = {"provider": TELEGRAM, "external_id": checked_id(telegram_user_id)}
        return next(iter(self._profiles(_PROFILE, values)), None)

    def list_telegram_users_dto(self) -> list[dict[str, Any]]:
        """Return the profiles of all chat users, ordered by id."""
        return list(self._profiles(_PROFILES, {"provider": TELEGRAM}))

    def list_pending_telegram_approvals(self) -> list[dict[str, Any]]:
        """Return the profiles of users who are verified but not yet approved."""
        return [
            user for user in self.list_telegram_users_dto() if user["verified"] > user["approved"]
        ]

    def get_admin_telegram_user_ids(self) -> list[str]:
        """Return the chat ids of the users who are administrators."""
        return [
            user["telegram_user_id"] for user in self.list_telegram_users_dto() if user["is_admin"]
        ]

    def get_user_notification_channels(self, user_id: int) -> dict[str, str | None] | None:
        """Return a user's ``email`` and ``telegram_chat_id``, or None if the user does not exist."""
        user = self.session.get(User, user_id)
        if user is None:
            return None
        chats = select(AuthIdentity.external_id).where(
            AuthIdentity.user_id == user_id, AuthIdentity.provider == TELEGRAM
        )
        return {"email": user.email, "telegram_chat_id": self.session.scalars(chats).first()}

    def _profiles(self, query: Select[Any], values: dict[str, str]) -> Iterable[dict[str, Any]]:
        for user_id, external_id, metadata, email in self.session.execute(query, values):
            yield {
                "user_id": user_id,
                "telegram_user_id": external_id,
                "email": metadata.get("email") or email,
                "language": metadata.get("language", "en"),
                **{name: metadata.get(name, False) for name in _FLAGS},
                **{name: metadata.get(name) for name in _COUNTS},
            }


class VerificationRepo(Repository):
    """Issues and checks codes that verify e-mail addresses.

    Five wrong attempts make a code void.
    """

    model = VerificationCode

    def issue(
        self, user_id: int, *, code: str, sent_time: int, email: str | None = None
    ) -> VerificationCode:
        """Store a code; earlier codes become void.

        Raises:
            QueryError: The code is shorter than six characters, or ``sent_time`` is invalid or in
                the future.
        """
        checked_text(code, 64, "a code")
        if len(code) < 6 or not code.isprintable():
            raise QueryError(
                "a code must consist of at least six printable characters",
                hint="new_verification_code() creates one",
            )
        if isinstance(sent_time, bool) or not isinstance(sent_time, int):
            raise QueryError(
                f"sent_time must be an integer number of seconds, not {sent_time!r:.80}"
            )
        if not 0 <= sent_time <= self.clock.now_ms() // 1000 + _SKEW_S:
            raise QueryError(f"sent_time {sent_time} is in the future, or before 1970")
        self.void_all(user_id)
        row = VerificationCode(
            user_id=user_id,
            code=code,
            email=email,
            sent_time=sent_time,
            provider=TELEGRAM,
            created_at=self.now(),
        )
        self.session.add(row)
        self.session.flush()
        return row

    def count_last_hour_by_user_id(self, user_id: int, now_unix: int | None = None) -> int:
        """Return the number of codes sent to a user in the hour before ``now_unix`` (None means now)."""
        now = self.clock.now_ms() // 1000 if now_unix is None else now_unix
        sent = VerificationCode.sent_time
        query = select(func.count()).where(VerificationCode.user_id == user_id)
        return self.session.scalars(query.where(sent > now - _HOUR_S, sent <= now)).one()

    def use(self, user_id: int, code: str, expiry_seconds: int) -> VerificationCode | None:
        """Void and return a user's code if it is valid and equals ``code``; otherwise return None.

        A wrong code counts as an attempt.
        """
        row = next((row for row in locked(self.session, _codes(user_id)) if not row.is_void), None)
        if row is None:
            return None
        age_s = self.clock.now_ms() / 1000 - row.sent_time
        if not -_SKEW_S <= age_s < expiry_seconds:  # sent with a clock that was ahead, or too old
            return None
        if not hmac.compare_digest(row.code.encode(), str(code).encode(errors="replace")):
            row.wrong_tries += 1
            row.is_void = row.wrong_tries >= _WRONG_TRIES
            return None
        row.is_void = True
        return row

    def void_all(self, user_id: int) -> None:
        """Make all of a user's codes void."""
        for row in locked(self.session, _codes(user_id)):
            row.is_void = True


def _codes(user_id: int) -> Select[VerificationCode]:
    codes = select(VerificationCode).where(VerificationCode.user_id == user_id)
    return codes.order_by(VerificationCode.id.desc())


def _identity_query(external_id: str | int, provider: str) -> Select[AuthIdentity]:
    same_user = AuthIdentity.external_id == checked_id(external_id)
    return select(AuthIdentity).where(AuthIdentity.provider == provider, same_user)


def checked_id(external_id: str | int) -> str:
    """Check a user's identity (such as a chat id), and return it as text.

    Raises:
        QueryError: The identity is neither a printable string of 1 to 255 characters nor an
            integer.
    """
    is_number = isinstance(external_id, int) and not isinstance(external_id, bool)
    text = checked_text(str(external_id) if is_number else external_id, 255, "an identity")
    if not text or not text.isprintable():
        raise QueryError(
            f"invalid user identity {external_id!r:.80}",
            hint="use an integer or a printable string of 1 to 255 characters",
        )
    return text


def checked_email(email: str) -> str:
    """Return an e-mail address in lowercase.

    A valid address has English letters, digits and ``._%+-`` before the @, and letters, digits,
    hyphens and dots after it; each part begins with a letter or digit.

    Raises:
        QueryError: The text is not such an address.
    """
    if not isinstance(email, str) or not _EMAIL.fullmatch(email) or ".." in email:
        raise QueryError(
            f"invalid e-mail address {email!r:.80}", hint="use a form such as name@example.com"
        )
    return email.lower()


def _checked(name: str, value: Any) -> Any:
    """Check a value for an identity's metadata, and return it."""
    check_names([name], (*_FLAGS, *_COUNTS, "language", "email"), "a user")
    if name in _FLAGS:
        return flag(name, value)
    if value is None and name != "language":
        return None
    if name in _COUNTS:
        return page(value)[0]
    if name == "email":
        return checked_email(value)
    if not isinstance(value, str) or not _LANGUAGE.fullmatch(value):
        raise QueryError(f"invalid language code {value!r:.80}", hint="use a code such as en")
    return value
