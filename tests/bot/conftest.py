"""Fixtures that run the example bot against the vendor server, with its users in scripted chats."""

from __future__ import annotations

import asyncio
import importlib
import itertools
import logging
import shutil
import sys
import threading
import time
from collections.abc import Callable, Iterator
from functools import partial
from importlib.util import find_spec
from pathlib import Path
from types import ModuleType, SimpleNamespace
from typing import Any

import pytest

from onetape.aio import AsyncDataManager
from src.data.clock import ManualClock
from src.data.data_manager import DataManager
from tests.conftest import WEDNESDAY
from tests.vendor_server import VendorServer
from tests.vendor_server.bot_api import TOKEN, Sent, Telegram

ADMIN, ADMIN_ADDRESS = 7, "admin@example.com"
PER_DAY = 50
EXAMPLE = Path(__file__).resolve().parents[2] / "examples" / "telegram_bot"
ANN, BOB = 11, 12


@pytest.fixture
def load(monkeypatch: pytest.MonkeyPatch) -> Callable[[str], ModuleType]:
    """Return what imports a file of the example as its neighbours do."""
    monkeypatch.syspath_prepend(str(EXAMPLE))
    return importlib.import_module


@pytest.fixture
def people(vendors: VendorServer) -> Telegram:
    face = vendors.face("telegram")
    assert isinstance(face, Telegram)
    return face


@pytest.fixture
def manager(tmp_path: Path, vendors: VendorServer, clock: ManualClock) -> DataManager:
    """Return a manager on an empty cache whose vendors are the server."""
    path, binance = tmp_path / "rules.yaml", vendors.base_url("binance")
    fast = "rate_limits: {requests_per_minute: 60000, requests_per_second: 1000, burst_size: 1000}"
    path.write_text(
        "crypto: {backup: [yahoo]}\n"
        "providers:\n"
        f"  binance: {{base_url: '{binance}', transport: http}}\n"
        f"  coingecko: {{base_url: '{binance}'}}\n"
        f"  yahoo: {{base_url: '{vendors.base_url('yahoo')}', transport: http, {fast}}}\n"
    )
    return DataManager(tmp_path / "cache", path, clock=clock)


def wait_for_attempts(vendors: VendorServer, count: int, method: str = "sendMessage") -> None:
    """Wait until the bot has tried to send so many texts, or has made so many other calls."""
    for _ in range(4000):
        if vendors.count("telegram", method) >= count:
            return
        threading.Event().wait(0.005)
    raise AssertionError(f"fewer than {count} calls of {method}")


class Chats:
    """The bot in a thread of its own, and what its users write and read.

    Attributes:
        bot: the module ``bot`` of the example.
        application: what runs.
        loop: the event loop that it runs in.
    """

    def __init__(self, bot: ModuleType, people: Telegram, application: Any) -> None:
        self.bot, self.people, self.application = bot, people, application
        self.loop, self._stop = asyncio.new_event_loop(), asyncio.Event()
        self._ready = threading.Event()
        self._thread = threading.Thread(target=self._run, daemon=True)
        self._thread.start()
        assert self._ready.wait(50)

    def _run(self) -> None:
        self.loop.run_until_complete(self._main())
        self.loop.close()

    async def _main(self) -> None:
        async with self.application as application:
            if application.post_init:
                await application.post_init(application)
            await application.start()
            await application.updater.start_polling(timeout=30)
            self._ready.set()
            await self._stop.wait()
            await application.updater.stop()
            await application.stop()
            if application.post_stop:
                await application.post_stop(application)

    def stop(self) -> None:
        """Stop the bot when it has answered what it has; a second time does nothing."""
        if not self._thread.is_alive():
            return
        self.loop.call_soon_threadsafe(self._stop.set)
        self.people.close()  # the poll that waits
        self._thread.join(50)
        assert not self._thread.is_alive()

    def say(self, text: str, user: int = ANN) -> Sent:
        """Write to the bot; return its next message to that user."""
        before = len(self.people.sent(user))
        self.people.write(user, text)
        return self.next_after(before, user)

    def press(self, sent: Sent, data: str) -> Sent:
        """Press a button; return the next message."""
        before = len(self.people.sent(sent.chat_id))
        self.people.press(sent, data)
        return self.next_after(before, sent.chat_id)

    def next_after(self, before: int, user: int = ANN) -> Sent:
        messages = self.people.wait_sent(user, before + 1, 50)
        assert len(messages) == before + 1, "one message for each command"
        return messages[-1]


@pytest.fixture
def quick(load: Callable[[str], ModuleType], monkeypatch: pytest.MonkeyPatch) -> ModuleType:
    """Return the module ``bot``; its connections do not read the certificates of authorities."""
    if find_spec("sniffio") is None:
        # httpx imports it at each request, and Python searches every folder for it again.
        monkeypatch.setitem(sys.modules, "sniffio", None)
    bot = load("bot")
    plain = partial(bot.HTTPXRequest, httpx_kwargs={"verify": False})
    monkeypatch.setattr(bot, "HTTPXRequest", plain)
    return bot


@pytest.fixture
def chats(
    quick: ModuleType, vendors: VendorServer, people: Telegram, manager: DataManager
) -> Iterator[Chats]:
    """Yield the running bot, without records."""
    answers = quick.Bot([quick.Market(AsyncDataManager(manager), 60.0)])
    application = quick.build(TOKEN, vendors.base_url("telegram") + "/bot", answers)
    running = Chats(quick, people, application)
    yield running
    running.stop()


class ChatsWithRecords(Chats):
    """A running bot with records, and the job of alerts, which a test runs.

    Attributes:
        db: the records.
        codes: address to the text that was sent there.
        members: the commands of users.
        admins: ids of the administrators.
        market: the commands that need no records.
        senders: who is heard; a minute passes between two messages.
        run: runs the job of alerts once, in the caller's thread; its messages go out by the bot.
        now_s: returns the time of the records.
    """

    db: Any
    codes: dict[str, str]
    members: Any
    admins: set[str]
    market: Any
    senders: Any
    run: Callable[[], Any]
    now_s: Callable[[], int]

    def join(self, user: int, address: str) -> None:
        """Make a user whose address is verified and who is approved, as the commands do.

        The commands themselves are sent in `test_a_user_registers_is_approved_and_asks`.
        """
        self.people.begin(user)
        self.codes[address] = register(self.db, user, address, self.now_s())
        assert self.db.approve_user(str(user))

    def wait_audited(self, count: int, user: int) -> None:
        """Wait until the audit has so many commands of a user; each is recorded after its answer."""
        for _ in range(4000):
            if len(self.audit(user_id=str(user))) >= count:
                return
            threading.Event().wait(0.005)
        raise AssertionError(f"fewer than {count} commands in the audit")

    def audit(self, **wanted: Any) -> list[tuple[str, str, bool]]:
        """Return user, command and success of the audit, the oldest first."""
        rows = self.db.get_all_command_audit(limit=1000, **wanted)
        return [(r["telegram_user_id"], r["command"], r["success"]) for r in reversed(rows)]


def register(db: Any, user: int, address: str, now_s: int) -> str:
    """Verify the address of a user in the records; return the text that is sent to it."""
    code = f"{user:08}"
    db.set_user_email(str(user), address, code, now_s, daily_limit=PER_DAY)
    assert db.verify_code(str(user), code)
    return f"/verify {code}"


class Records:
    """A database with the administrator in it, which each test begins with.

    One object serves all tests: what SQLAlchemy has compiled for it is used again.
    """

    def __init__(self, folder: Path) -> None:
        from src.data.db.core.database import Database
        from src.data.db.services.telegram_service import TelegramService

        self._path, self._begin = folder / "records.db", folder / "begin.db"
        self.database, clock = Database(f"sqlite:///{self._path}"), ManualClock(WEDNESDAY)
        db = TelegramService.of(self.database, clock)
        self.told = register(db, ADMIN, ADMIN_ADDRESS, clock.now_ms() // 1000)
        self.database.close()  # what is in the log beside it is not copied
        self._path.rename(self._begin)

    def begin(self) -> Any:
        """Return the database as it was in the beginning."""
        self.database.close()
        for path in self._path.parent.glob("records.db*"):
            path.unlink()
        shutil.copy(self._begin, self._path)
        return self.database


@pytest.fixture(scope="session")
def _records(tmp_path_factory: pytest.TempPathFactory) -> Records:
    return Records(tmp_path_factory.mktemp("records"))


@pytest.fixture
def bot_chats(
    load: Callable[[str], Any], quick: Any, vendors: VendorServer, people: Telegram,
    _records: Records, manager: DataManager, clock: ManualClock, monkeypatch: pytest.MonkeyPatch,
) -> Iterator[ChatsWithRecords]:  # fmt: skip
    """Yield the running bot with one administrator, who has joined."""
    from src.data.db.alert_records import StoredAlerts
    from src.data.db.services.telegram_service import TelegramService
    from src.data.jobs.alert_bars import ClientBars
    from src.data.jobs.alerts import AlertJob

    database, codes = _records.begin(), {ADMIN_ADDRESS: _records.told}
    db = TelegramService.of(database, clock)
    now = SimpleNamespace(time=lambda: clock.now_ms() / 1000, monotonic=time.monotonic)
    monkeypatch.setattr(load("members"), "time", now)
    watching, has_job = load("watching"), threading.Event()
    admins, seconds = {str(ADMIN)}, itertools.count(0, 60)
    members = quick.Members(db, codes.__setitem__, lambda: admins, per_day=PER_DAY)
    market = quick.Market(AsyncDataManager(manager), 60.0)
    answers = quick.Bot([market, members, watching.Watching(market, members)], members)
    answers.senders.now_s = lambda: next(seconds)  # nobody is too fast
    channels: dict[str, Any] = {}

    def make(deliver: dict[str, Any], _: float) -> Any:
        """Leave the runs to the test."""
        channels.update(deliver)
        has_job.set()
        return SimpleNamespace(run=lambda: None)

    replies = answers.report, members.may_receive
    work = partial(watching.run_alerts, replies=replies, make=make, every_s=3600)
    application = quick.build(TOKEN, vendors.base_url("telegram") + "/bot", answers, work)
    running = ChatsWithRecords(quick, people, application)
    running.db, running.codes, running.members, running.admins = db, codes, members, admins
    running.senders, running.market = answers.senders, market
    running.now_s = lambda: clock.now_ms() // 1000
    assert has_job.wait(50)
    source = ClientBars(manager.client)
    running.run = AlertJob(StoredAlerts(database, clock), source, channels, clock, 86_400).run
    people.begin(ADMIN)
    yield running
    running.stop()


@pytest.fixture
def hooks(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """Put back what hiding a token changes in the process."""
    factory = logging.getLogRecordFactory()
    for owner in (sys, threading):
        monkeypatch.setattr(owner, "excepthook", owner.excepthook)
    yield
    logging.setLogRecordFactory(factory)
    logging.captureWarnings(False)
