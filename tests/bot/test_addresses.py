"""E-mail addresses of users: invalid ones are refused, and none injects a command into the mailer."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tests.cache.counts import FULL, examples, some

from .conftest import ANN, BOB, ChatsWithRecords

pytest.importorskip("telegram", reason="python-telegram-bot is not installed (extra bot)")
pytest.importorskip("sqlalchemy", reason="sqlalchemy is not installed (extra db)")

from src.data.db.core.database import Database
from src.data.db.repos.repo_users import checked_email
from src.data.db.services.telegram_service import TelegramService
from src.data.db.services.users_service import UsersService
from src.data.errors import QueryError

# A domain may be one name: the mail program of a company's own network knows such hosts.
GOOD = ("a@b", "Ann.O-x_1%2+tag@Example.co", "9@9.9", "x" * 64 + "@example.com", "a@b-c.d")
BAD = (
    "|id|tee${IFS}x&@y", "/path@y", "a|b@y", "a@y|id", "a/b@y", "a@b/c", "`id`@y", "a$b@y", "a&b@y", "-oX@y",
    "a@-oX", ".a@y", "a@.y", "a@y.", "a@y-", "a@y..z", "a..b@y", "+a@y", "%a@y", "a!b@y", "a'b@y", "a@b@c",
    "a b@y", "a\n@y", "a@y\n", "a@y\r\nBcc: b@z", "a\x00@y", "é@y", "a@é.y", "a@", "@y", "a", "", "~a@y",
    "a:b@y", "a;b@y", "a,b@y", "<a@y>", '"a"@y', "a\\b@y", "(a)@y", "a@[127.0.0.1]", "#a@y", "=a@y", "a@y_z",
    "a\N{ZERO WIDTH SPACE}@y", "\uff41@y", "x" * 65 + "@y", "a@" + "y" * 190,
)  # fmt: skip


@pytest.mark.parametrize("address", GOOD)
def test_addresses_are_kept_in_lower_case(address: str) -> None:
    assert checked_email(address) == address.lower()


@pytest.mark.parametrize("address", BAD)
def test_an_invalid_email_address_is_refused(address: str) -> None:
    with pytest.raises(QueryError, match="invalid e-mail address") as caught:
        checked_email(address)
    assert "use a form such as name@example.com" in str(caught.value)


@settings(max_examples=examples(100), deadline=None)
@given(
    st.text(st.characters(exclude_categories=["Cs"]), max_size=30), st.sampled_from(("", "@", "@y"))
)
def test_no_other_character_passes(text: str, end: str) -> None:
    try:
        kept = checked_email(text + end)
    except QueryError:
        return
    assert set(kept) <= set("abcdefghijklmnopqrstuvwxyz0123456789._%+-@") and kept[0].isalnum()


def test_two_users_never_have_one_address(tmp_path: Path) -> None:
    """Neither by registration nor by a program, and not beside one that an earlier version stored."""
    database = Database(f"sqlite:///{tmp_path / 'records.db'}")
    chats, users = TelegramService.of(database), UsersService.of(database)
    with database.writing() as session:
        session.connection().exec_driver_sql(
            "INSERT INTO usr_users (email, role, is_active, created_at, updated_at)"
            " VALUES ('Old@Example.com', 'trader', 1, 0, 0)"
        )
    users.create_user("Ann@Example.com", "trader")
    for taken in ("ANN@example.com", "old@example.com"):
        with pytest.raises(QueryError, match="another user has this"):
            users.create_user(taken, "trader")
        chats.set_user_email(str(BOB), taken, "12345678", 0)
        assert chats.verify_user_email(str(BOB)) is False
    chats.set_user_email(str(BOB), "bob@example.com", "12345678", 0)
    assert chats.verify_user_email(str(BOB)) is True


def test_registration_refuses_invalid_addresses_and_sends_no_mail(
    bot_chats: ChatsWithRecords,
) -> None:
    before = dict(bot_chats.codes)
    sendable = [a for a in BAD if a and a.isprintable() and a.split() == [a]]
    for address in some(sendable, 5):
        text = bot_chats.say(f"/register {address}", BOB).text
        assert "invalid e-mail address" in text, address
    assert bot_chats.codes == before and bot_chats.db.get_user_status(str(BOB)) is None
    bot_chats.join(ANN, "ann@example.com")
    assert bot_chats.say("/register ANN@Example.COM", BOB).text.endswith("within an hour.")
    assert bot_chats.say(bot_chats.codes["ANN@Example.COM"], BOB).text.startswith("That code")


def test_the_mailer_checks_each_address_and_hands_on_no_key(
    load: Callable[[str], ModuleType], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("POLYGON_KEY", "canary")
    told, script = tmp_path / "told", tmp_path / "mail.py"
    script.write_text(
        "import json, os, sys\n"
        f"open({str(told)!r}, 'w').write(json.dumps([sys.argv[1:], sys.stdin.read(), dict(os.environ)]))\n"
    )
    send = load("members").mailer(f"{sys.executable} {script} -s 'a code'")
    for address in BAD:
        with pytest.raises(QueryError):
            send(address, "/verify 1")
    assert not told.exists()
    send("Ann@Example.com", "/verify 1")
    words, text, environment = json.loads(told.read_text())
    assert (words, text) == (["-s", "a code", "ann@example.com"], "/verify 1")
    assert environment["PATH"] == os.environ["PATH"] and "canary" not in str(environment)


@pytest.mark.skipif(not FULL, reason="runs a mail program of the system: ONETAPE_FULL=1")
@pytest.mark.parametrize("kind", ["command", "file"])
def test_an_address_makes_gnu_mail_run_no_command_and_write_no_file(
    load: Callable[[str], ModuleType], tmp_path: Path, monkeypatch: pytest.MonkeyPatch, kind: str
) -> None:
    """GNU mailutils runs what follows ``|`` and writes to a path: it does where it is asked directly."""
    program: Any = shutil.which("mail.mailutils")
    if program is None:
        pytest.skip("mailutils is not installed")
    place = tmp_path / "abuse"
    address = f"|tee${{IFS}}{place}&@y" if kind == "command" else f"{place}@y"
    monkeypatch.setenv("HOME", str(tmp_path))
    with pytest.raises(QueryError, match="invalid e-mail address"):
        load("members").mailer(f"{program} -s code")(address, "/verify 1")
    assert not [*tmp_path.glob("abuse*")]
    subprocess.run([program, "-s", "code", address], input="x", text=True, check=False, timeout=300)
    assert [*tmp_path.glob("abuse*")], "the attack that is refused is one"
