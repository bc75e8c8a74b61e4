"""Who may ask, and what is kept of each user; `db` is `src.data.db.services.telegram_service`."""

from __future__ import annotations

import asyncio
import os
import secrets
import shlex
import subprocess
import time
from collections.abc import Callable, Collection
from types import MappingProxyType
from typing import Any

from market import Answer, CommandError
from sending import again

from onetape import QueryError

MAIL_VARIABLES = ("HOME", "LANG", "LC_ALL", "LOGNAME", "PATH", "TMPDIR", "TZ", "USER")


class Members:
    """The commands about users. Each takes the user's id and the words behind its name.

    Args:
        db: the records; its functions run in threads.
        send_code: sends a text to an address; what it raises is an error of the program.
        admins: ids of those who are administrators once they have verified their address.
        per_day: commands that a new user may send from midnight to midnight UTC.
    """

    USAGE = MappingProxyType({
        "register": "EMAIL", "verify": "CODE", "feedback": "TEXT", "forget": "", "approve": "[USER]",
        "stats": "",
    })  # fmt: skip
    FOR_ALL, FOR_ADMINS = (
        frozenset({"register", "verify", "forget"}),
        frozenset({"approve", "stats"}),
    )

    def __init__(
        self, db: Any, send_code: Callable[[str, str], None], admins: Collection[str], per_day: int
    ) -> None:
        self.db, self.send_code, self.admins, self.per_day = db, send_code, admins, per_day

    async def forget_old(self, _: object = None) -> None:
        """Remove audit (90 days) and feedback (365 days) that are older, each day."""
        await again(86_400, self.db.delete_old_records)

    async def kept(self, function: Callable[..., Any], *args: Any, **more: Any) -> Any:
        """Call a function of the records; a value that they refuse is the user's to correct."""
        try:
            return await asyncio.to_thread(function, *args, **more)
        except QueryError as error:
            raise CommandError(str(error)) from error

    async def admit(self, user: str, name: str) -> None:
        """Refuse a user who may not use a command, or has used too many today."""
        if name in self.FOR_ALL:
            return
        status = await self.kept(self.db.get_user_status, user)
        if status is None or not status["verified"]:
            raise CommandError("Please /register EMAIL, then /verify the code that you get.")
        if not status["approved"] and not status["is_admin"]:
            raise CommandError("An administrator has yet to approve you.")
        if name in self.FOR_ADMINS and not status["is_admin"]:
            raise CommandError(f"/{name} is for administrators.")
        if not await self.kept(self.db.use_daily_limit, user):
            raise CommandError("That is all for today; the next day begins at 00:00 UTC.")

    async def note(self, user: str, name: str, text: str, error: str, began: float) -> None:
        """Add a command to the audit; without a code, and without the id of who has just been forgotten."""
        await asyncio.to_thread(
            self.db.log_command_audit, "forgotten" if name == "forget" else user, name[:64],
            full_message=f"/{name}" if name in ("verify", "forget") else text[:1000],
            success=not error, error_message=error[:1000] or None,
            response_time_ms=round((time.monotonic() - began) * 1000),
        )  # fmt: skip

    async def register(self, user: str, email: str) -> Answer:
        is_new = await self.kept(self.db.get_user_status, user) is None
        code, now = f"{secrets.randbelow(10**8):08}", int(time.time())
        is_admin = user in self.admins
        await self.kept(self.db.set_user_email, user, email, code, now, is_admin=is_admin)
        if is_new:
            await self.kept(self.db.set_user_daily_limit, user, self.per_day)
        await self.kept(self.send_code, email, f"/verify {code}")
        return Answer(f"A code is on its way to {email}; send /verify CODE within an hour.")

    async def verify(self, user: str, code: str) -> Answer:
        if not await self.kept(self.db.verify_code, user, code):
            raise CommandError("That code does not stand; /register EMAIL sends another.")
        rest = "" if user in self.admins else "; an administrator will approve you"
        return Answer(f"Your address is verified{rest}.")

    async def feedback(self, user: str, *words: str) -> Answer:
        if not words:
            raise CommandError(f"/feedback {self.USAGE['feedback']}")
        number = await self.kept(self.db.add_feedback, user, "feedback", " ".join(words))
        return Answer(f"Thank you; it has the number {number}.")

    async def forget(self, user: str, sure: str = "") -> Answer:
        if sure != "yes":
            return Answer(
                "All that is kept of you goes, alerts and schedules too.", ("forget yes",)
            )
        await self.kept(self.db.forget_user, user)
        return Answer("Nothing is kept of you any more.")

    async def approve(self, admin: str, user: str = "") -> Answer:
        if user and not await self.kept(self.db.approve_user, user):
            raise CommandError("There is no such user.")
        users = [u for u in await self.kept(self.db.get_all_users) if u["verified"]]
        ids = [u["telegram_user_id"] for u in users if not u["approved"] and not u["is_admin"]]
        return Answer(
            (f"{user} is approved. " if user else "")
            + f"To be approved: {', '.join(ids) or 'none'}",
            tuple(f"approve {one}" for one in ids[:20]),
        )

    async def stats(self, admin: str) -> Answer:
        stats = await self.kept(self.db.get_command_audit_stats)
        lines = [f"{stats['total']} commands, answered: {stats['success_rate'] or 0:.0%}"]
        return Answer("\n".join([*lines, *(f"/{n} {c}" for n, c in stats["by_command"].items())]))


def mailer(command: str) -> Callable[[str, str], None]:
    """Return what runs a command with the address behind it, and the text as its input.

    The address is checked whoever stored it: programs that send mail run, or write to, what a wrong one
    names. The command's environment has no key and no token.
    """
    from src.data.db.repos.repo_users import checked_email

    environment = {name: os.environ[name] for name in MAIL_VARIABLES if name in os.environ}

    def send(address: str, text: str) -> None:
        if not command:
            raise RuntimeError("BOT_MAIL names no command that sends e-mail")
        words = [*shlex.split(command), checked_email(address)]
        subprocess.run(words, input=text, text=True, check=True, timeout=60, env=environment)

    return send
