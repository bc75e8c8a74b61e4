"""Users' permissions and data in the database, through `onetape.data.db.services.telegram_service`."""

from __future__ import annotations

import asyncio
import os
import re
import secrets
import shlex
import subprocess
import time
from collections import Counter
from collections.abc import Callable, Collection, Mapping
from types import MappingProxyType
from typing import Any

from market import Answer, CommandError
from sending import again

from onetape import QueryError

MAIL_VARIABLES = ("HOME", "LANG", "LC_ALL", "LOGNAME", "PATH", "TMPDIR", "TZ", "USER")

# Number of commands per day that the audit keeps of one user without rights, and of all of them.
MOST_OF_STRANGER, MOST_OF_STRANGERS = 20, 1000
# Number of codes that are sent at the same time.
MOST_MAILS = 2


def named_admins() -> Collection[str]:
    """Return the ids in ``BOT_ADMINS``."""
    return {one.strip() for one in os.environ.get("BOT_ADMINS", "").split(",")} - {""}


class Members:
    """The commands about users. Each takes the user's id and the words after its name.

    Args:
        db: Service with the users' records; its functions run in threads.
        send_code: Sends text to an e-mail address; an exception is treated as a program error.
        admins: Returns the ids of users who are administrators while their address is verified.
        per_day: Number of commands that a new user may send between midnights UTC.
    """

    USAGE = MappingProxyType({
        "register": "EMAIL", "verify": "CODE", "feedback": "TEXT", "forget": "", "approve": "[USER]",
        "reject": "USER", "stats": "",
    })  # fmt: skip
    FOR_ALL, FOR_ADMINS = (
        frozenset({"register", "verify", "forget"}),
        frozenset({"approve", "reject", "stats"}),
    )

    def __init__(
        self, db: Any, send_code: Callable[[str, str], None], admins: Callable[[], Collection[str]],
        per_day: int,
    ) -> None:  # fmt: skip
        self.db, self.send_code, self.admins, self.per_day = db, send_code, admins, per_day
        self.mailing = asyncio.Semaphore(MOST_MAILS)
        self.strangers: Counter[str] = Counter()
        self.day = 0

    async def forget_old(self, _: object = None) -> None:
        """Remove audit entries older than 90 days and feedback older than 365 days, every day."""
        await again(86_400, self.db.delete_old_records)

    async def kept(self, function: Callable[..., Any], *args: Any, **more: Any) -> Any:
        """Call a function of the database service; report a rejected value to the user."""
        try:
            return await asyncio.to_thread(function, *args, **more)
        except QueryError as error:
            raise CommandError(str(error)) from error

    async def admit(self, user: str, name: str) -> None:
        """Reject a user who may not use a command, or has used too many today."""
        if name in self.FOR_ALL:
            return
        if why := await self.standing(user):
            raise CommandError(why)
        if not self.may_send(user, why, name):
            raise CommandError(f"/{name} is only for administrators.")
        if not await self.kept(self.db.use_daily_limit, user):
            raise CommandError("You have reached today's limit; it resets at 00:00 UTC.")

    async def standing(self, user: str) -> str:
        """Return the step that a user still has to take to get access; empty if there is none."""
        status = await self.kept(self.db.get_user_status, user)
        if status is None or not status["verified"]:
            return "Please /register EMAIL, then /verify the code that you get."
        return "" if self.has_rights(user, status) else "An administrator still has to approve you."

    def may_send(self, user: str, why: str, name: str) -> bool:
        """Return whether a user may send a command; ``why`` is what the user still lacks."""
        is_for_them = name not in self.FOR_ADMINS or user in self.admins()
        return name in self.FOR_ALL or (not why and is_for_them)

    def has_rights(self, user: str, status: Mapping[str, Any] | None) -> bool:
        """Return whether a user has a verified address, and is approved or an administrator."""
        is_verified = status is not None and status["verified"]
        return is_verified and (status["approved"] or user in self.admins())

    async def may_receive(self, user: str) -> bool:
        """Return whether alerts and reports may currently be sent to a user."""
        return self.has_rights(user, await asyncio.to_thread(self.db.get_user_status, user))

    async def note(
        self, user: str, name: str, text: str, error: str, started: float, *, is_known: bool
    ) -> None:
        """Add a command to the audit, without codes, and without the id of a user just deleted.

        After an unknown name, which may be a misspelled command followed by a code, every digit is
        masked. Only a few commands a day are added for users without rights.
        """
        if not await self.may_receive(user) and not self.counts(user):
            return
        pattern = re.compile(r"(\d[\s-]*){8,}" if is_known else r"\d")
        await asyncio.to_thread(
            self.db.log_command_audit, "forgotten" if name == "forget" else user,
            name[:64] if is_known else "help",
            full_message=f"/{name}" if name in ("verify", "forget") else pattern.sub("*", text[:1000]),
            success=not error, error_message=pattern.sub("*", error[:1000]) or None,
            response_time_ms=round((time.monotonic() - started) * 1000),
        )  # fmt: skip

    def counts(self, user: str) -> bool:
        """Count a command from a user without rights; False if the day's limit is reached."""
        if self.day != (day := int(time.time() // 86_400)):
            self.day, self.strangers = day, Counter()
        if self.strangers[user] >= MOST_OF_STRANGER or self.strangers.total() >= MOST_OF_STRANGERS:
            return False
        self.strangers[user] += 1
        return True

    async def register(self, user: str, email: str) -> Answer:
        if self.mailing.locked():  # each takes a slot and a thread for up to a minute
            raise CommandError("Other codes are being sent; please try again in a minute.")
        async with self.mailing:
            code, now = f"{secrets.randbelow(10**8):08}", int(time.time())
            limit = {"daily_limit": self.per_day}
            await self.kept(self.db.set_user_email, user, email, code, now, **limit)
            await self.kept(self.send_code, email, f"/verify {code}")
        return Answer(f"A code is on its way to {email}; send /verify CODE within an hour.")

    async def verify(self, user: str, code: str) -> Answer:
        if not await self.kept(self.db.verify_code, user, code):
            raise CommandError("That code is not valid; /register EMAIL sends a new one.")
        rest = "; an administrator will approve you" if await self.standing(user) else ""
        return Answer(f"Your address is verified{rest}.")

    async def feedback(self, user: str, *words: str) -> Answer:
        if not words:
            raise CommandError(f"/feedback {self.USAGE['feedback']}")
        number = await self.kept(self.db.add_feedback, user, "feedback", " ".join(words))
        return Answer(f"Thank you; it has the number {number}.")

    async def forget(self, user: str, sure: str = "") -> Answer:
        if sure != "yes":
            return Answer(
                "This deletes everything stored about you, including alerts and schedules.",
                ("forget yes",),
            )
        await self.kept(self.db.forget_user, user)
        return Answer("Everything stored about you has been deleted.")

    async def approve(self, admin: str, user: str = "") -> Answer:
        if user and not await self.kept(self.db.approve_user, user):
            raise CommandError("That user does not exist.")
        lacks = "; their address is not verified yet" if user and await self.standing(user) else ""
        users = [u for u in await self.kept(self.db.get_all_users) if u["verified"]]
        waiting = [u["telegram_user_id"] for u in users if not u["approved"]]
        ids = [one for one in waiting if one not in self.admins()]
        return Answer(
            (f"{user} is approved{lacks}. " if user else "")
            + f"Waiting for approval: {', '.join(ids) or 'none'}",
            tuple(f"approve {one}" for one in ids[:20]),
        )

    async def reject(self, admin: str, user: str) -> Answer:
        if not await self.kept(self.db.reject_user, user):
            raise CommandError("That user does not exist.")
        if user in self.admins():
            raise CommandError(f"{user} is listed in BOT_ADMINS and remains an administrator.")
        return Answer(f"{user} can no longer use the bot and gets no alerts or reports.")

    async def stats(self, admin: str) -> Answer:
        stats = await self.kept(self.db.get_command_audit_stats)
        rate, causes = stats["success_rate"] or 0, Counter(stats["by_cause"])
        lines = [f"{stats['total']} commands, answered: {rate:.0%}"]
        lines += [f"/{name} {count}" for name, count in stats["by_command"].items()]
        lines += ["not answered:"] if causes else []
        return Answer("\n".join([*lines, *(f"{one} {n}" for one, n in causes.most_common(20))]))


def mailer(command: str) -> Callable[[str, str], None]:
    """Return a function that runs a command, with the address as argument and the text as input.

    The address is checked no matter who stored it, because mail programs may execute a malicious
    one or write to a file it names. The command's environment contains no key and no token.
    """
    from onetape.data.db.repos.repo_users import checked_email

    environment = {name: os.environ[name] for name in MAIL_VARIABLES if name in os.environ}

    def send(address: str, text: str) -> None:
        if not command:
            raise RuntimeError("BOT_MAIL is not set; set it to the command that sends e-mail")
        words = [*shlex.split(command), checked_email(address)]
        subprocess.run(words, input=text, text=True, check=True, timeout=60, env=environment)

    return send
