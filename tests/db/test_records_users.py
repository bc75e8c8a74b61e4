"""Users, verification, settings, feedback and audit: on both engines, by functions and by repositories."""

from __future__ import annotations

import inspect
import logging
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import UTC, datetime
from types import SimpleNamespace
from typing import Any

import pytest

from src.data.core.clock import ManualClock
from src.data.db.core.database import Database
from src.data.db.repos.repo_jobs import JobsRepository
from src.data.db.repos.repo_telegram import TelegramRepository
from src.data.db.repos.repo_trading import TradeRepository
from src.data.db.repos.repo_users import UsersRepo
from src.data.db.repos.rows import Repository
from src.data.db.services import database_service, telegram_service
from src.data.db.services.base_service import RECORDS, BaseDBService, with_uow
from src.data.db.services.database_service import DatabaseService
from src.data.db.services.jobs_service import JobsService
from src.data.db.services.telegram_service import TelegramService
from src.data.db.services.trading_service import TradingService
from src.data.db.services.users_service import UsersService
from src.data.errors import DataError, QueryError

NOW = 1_790_000_000
CODE = "123456"
# What a text may hold, in every field that takes one.
TEXTS = (
    "'; DROP TABLE usr_users; --",
    "\u202eAAPL\u202c",
    "<b>&amp;</b>",
    "%(x)s {0} \\",
    "é漢😀",
    "a" * 10_000,
)


@pytest.fixture
def clock() -> ManualClock:
    return ManualClock(NOW * 1000)


@pytest.fixture
def db(database: Database, clock: ManualClock) -> TelegramService:
    return TelegramService.of(database, clock)


def test_a_new_user_is_stored_verified_and_approved_step_by_step(db: TelegramService) -> None:
    assert db.get_user_status("7") is None
    db.set_user_email("7", "ann@example.com", CODE, NOW)
    assert db.get_user_status(7) == {
        "telegram_user_id": "7",
        "email": "ann@example.com",
        "approved": False,
        "verified": False,
        "max_alerts": None,
        "max_schedules": None,
        "language": "en",
        "is_admin": False,
    }
    assert db.verify_code("7", CODE) is True
    assert db.approve_user("7") is True
    status = db.get_user_status("7")
    assert status is not None
    assert (status["verified"], status["approved"]) == (True, True)
    assert db.list_users() == [
        {"telegram_user_id": "7", "email": "ann@example.com", "approved": True, "verified": True}
    ]


def test_boolean_functions_return_false_for_an_unknown_user(db: TelegramService) -> None:
    for function in (db.approve_user, db.reject_user, db.verify_user_email):
        assert function("8") is False
    assert db.reset_user_email_verification("8") is False
    assert db.update_user_language("8", "de") is False
    assert db.verify_code("8", CODE) is False
    assert db.get_user_limit("8", "max_alerts") is None
    assert db.count_codes_last_hour("8") == 0
    assert db.list_users() == []


# --- codes ---------------------------------------------------------------------------------------


def test_a_code_from_a_fast_clock_is_not_valid_for_a_year(
    db: TelegramService, clock: ManualClock
) -> None:
    clock.advance(366 * 86_400)
    db.set_user_email("7", "ann@example.com", CODE, clock.now_ms() // 1000)
    clock.advance(-366 * 86_400)
    assert db.verify_code("7", CODE, expiry_seconds=3600) is False


def test_an_expired_code_does_not_verify_a_user(db: TelegramService, clock: ManualClock) -> None:
    db.set_user_email("7", "ann@example.com", CODE, NOW)
    clock.advance(3600)
    assert db.verify_code("7", CODE) is False
    assert db.verify_code("7", CODE, expiry_seconds=3601) is True


def test_a_code_is_used_once_and_the_last_one_alone_counts(db: TelegramService) -> None:
    db.set_user_email("7", "ann@example.com", "111111", NOW)
    db.set_verification_code("7", code="222222", sent_time=NOW)
    assert db.verify_code("7", "111111") is False
    assert db.verify_code("7", "222222") is True
    assert db.verify_code("7", "222222") is False


def test_five_wrong_tries_void_a_code(db: TelegramService) -> None:
    db.set_user_email("7", "ann@example.com", CODE, NOW)
    for _ in range(5):
        assert db.verify_code("7", "000000") is False
    assert db.verify_code("7", CODE) is False
    db.set_verification_code("7", code="222222", sent_time=NOW)
    for _ in range(4):
        assert db.verify_code("7", "000000") is False
    assert db.verify_code("7", "222222") is True


def test_codes_are_of_secrets_and_compared_in_constant_time(
    db: TelegramService, monkeypatch: pytest.MonkeyPatch
) -> None:
    compared: list[bytes] = []

    def compare(own: bytes, given: bytes) -> bool:
        compared.append(given)
        return own == given

    monkeypatch.setattr("src.data.db.repos.repo_users.hmac.compare_digest", compare)
    monkeypatch.setattr(
        "src.data.db.repos.repo_users.secrets.randbelow", lambda most: most - 999_958
    )
    code = telegram_service.new_verification_code()
    assert code == "000042"
    db.set_user_email("7", "ann@example.com", code, NOW)
    assert db.verify_code("7", "\udfff") is False
    assert db.verify_code("7", code) is True
    assert compared == [b"?", b"000042"]


@pytest.mark.parametrize(
    ("code", "sent_time"),
    [("12345", NOW), (CODE, NOW + 301), (CODE, -1), (CODE, 1.5), (123456, NOW)],
)
def test_an_invalid_verification_code_is_refused(
    db: TelegramService, code: Any, sent_time: Any
) -> None:
    with pytest.raises(QueryError):
        db.set_user_email("7", "ann@example.com", code, sent_time)
    assert db.get_user_status("7") is None


@pytest.mark.parametrize(
    "email", ["", "ann", "a@b@c", "ann@x y", "a\n@b", "<a@b>", "a" * 300 + "@b", None]
)
def test_an_invalid_email_address_is_refused(db: TelegramService, email: Any) -> None:
    with pytest.raises(QueryError):
        db.set_user_email("7", email, CODE, NOW)
    assert db.list_users() == []


def test_an_address_is_its_users_when_the_code_comes_back(db: TelegramService) -> None:
    db.set_user_email("6", "ann@example.com", CODE, NOW)  # typed by another, never verified
    db.set_user_email("7", "ann@example.com", CODE, NOW)
    assert db.verify_code("7", CODE) is True
    assert db.verify_code("6", CODE) is False
    status = db.get_user_status("6")
    assert status is not None
    assert status["verified"] is False


def test_a_new_email_address_has_to_be_verified_again(db: TelegramService) -> None:
    db.set_user_email("7", "ann@example.com", CODE, NOW)
    assert db.verify_code("7", CODE)
    db.set_user_email("7", "new@example.com", "654321", NOW)
    status = db.get_user_status("7")
    assert status is not None
    assert (status["email"], status["verified"]) == ("new@example.com", False)
    assert db.reset_user_email_verification("7") is True
    assert db.verify_code("7", "654321") is False


# --- limits, admins ------------------------------------------------------------------------------


def test_limits_are_set_by_name(db: TelegramService, caplog: pytest.LogCaptureFixture) -> None:
    db.set_user_limit("7", "max_alerts", 3)
    assert db.get_user_limit("7", "max_alerts") == 3
    for key, value in [
        ("max_alertz", 3),
        ("is_admin", True),
        ("max_alerts", -1),
        ("max_alerts", 1.5),
    ]:
        with pytest.raises(QueryError):
            db.set_user_limit("7", key, value)
    assert db.get_user_limit("7", "max_alerts") == 3
    with caplog.at_level(logging.WARNING):
        assert db.get_user_limit("7", "max_alertz") is None
    assert "max_alertz" in caplog.text


def test_an_administrator_keeps_the_role_after_a_new_address_and_a_rejection(
    db: TelegramService,
) -> None:
    db.create_admin("1", "root@example.com")
    db.set_user_email("1", "new@example.com", CODE, NOW)
    assert db.get_admin_user_ids() == ["1"]
    assert db.reject_user("1") is True
    (status,) = db.get_all_users()
    assert (status["is_admin"], status["approved"]) == (True, False)


def test_making_an_administrator_takes_no_address_and_gives_none_away(db: TelegramService) -> None:
    for user, address in (("1", "ann@example.com"), ("2", "bob@example.com")):
        db.set_user_email(user, address, CODE, NOW)
    assert db.verify_code("1", CODE)
    db.create_admin("1")
    assert not db.verify_code("2", "wrong!") and db.verify_code("2", CODE)
    with pytest.raises(QueryError, match="another user has this e-mail address"):
        db.create_admin("3", "ann@example.com")
    assert db.get_user_status("3") is None
    db.set_user_email("2", "ann@example.com", CODE, NOW)
    assert not db.verify_code("2", CODE)
    admin = db.get_user_status("1")
    assert admin is not None and (admin["email"], admin["verified"]) == ("ann@example.com", True)


def test_the_language_of_a_user_survives_a_change_of_address(db: TelegramService) -> None:
    db.set_user_email("7", "ann@example.com", CODE, NOW)
    assert db.update_user_language("7", "pt-BR") is True
    assert db.update_user_language("7", "x'; --") is False
    db.set_user_email("7", "ann@example.org", CODE, NOW)  # an address of which no language is named
    status = db.get_user_status("7")
    assert status is not None
    assert status["language"] == "pt-BR"


# --- settings, feedback, audit -------------------------------------------------------------------


def test_settings_can_be_stored_replaced_and_removed(db: TelegramService) -> None:
    assert db.get_setting("motd") is None
    db.set_setting("motd", "one")
    db.set_setting("motd", "two")
    assert db.get_setting("motd") == "two"
    db.set_setting("motd", None)
    assert db.get_setting("motd") is None
    with pytest.raises(QueryError):
        db.set_setting("", "x")


def test_feedback_is_listed_by_type_and_has_a_status(db: TelegramService) -> None:
    number = db.add_feedback("7", "bug", "it is broken")
    db.add_feedback("7", "feature", "more")
    assert db.update_feedback_status(number, "closed") is True
    assert db.update_feedback_status(number, "clsed") is False
    assert db.update_feedback_status(999, "closed") is False
    (row,) = db.list_feedback("bug")
    assert (row["id"], row["message"], row["status"]) == (number, "it is broken", "closed")
    assert row["created_at"] == datetime.fromtimestamp(NOW, UTC)
    with pytest.raises(QueryError):
        db.add_feedback("7", "bug", "  ")


def test_the_audit_is_filtered_and_counted(db: TelegramService, clock: ManualClock) -> None:
    assert db.get_command_audit_stats() == {
        "total": 0, "by_command": {}, "success_rate": None,
    }  # fmt: skip
    db.log_command_audit("7", "/price", full_message="/price AAPL", response_time_ms=12)
    clock.advance(86_400)
    db.log_command_audit("7", "/chart", success=False, error_message="no such symbol")
    db.log_command_audit("8", "/price", is_registered_user=True, user_email="bob@example.com")
    assert db.get_command_audit_stats() == {
        "total": 3,
        "by_command": {"/price": 2, "/chart": 1},
        "success_rate": 2 / 3,
    }
    assert [one["command"] for one in db.get_user_command_history("7")] == ["/chart", "/price"]
    listed = db.get_all_command_audit(success_only=True, command="/price", limit=1)
    assert [one["telegram_user_id"] for one in listed] == ["8"]
    assert (listed[0]["user_email"], listed[0]["is_registered_user"]) == ("bob@example.com", True)
    assert [one["command"] for one in db.get_all_command_audit(limit=1, offset=1)] == ["/chart"]
    times = {one["full_message"]: one["response_time_ms"] for one in db.get_all_command_audit()}
    assert times == {"/price AAPL": 12, None: None}
    day = datetime.fromtimestamp(NOW, UTC).date().isoformat()
    assert [one["full_message"] for one in db.get_all_command_audit(end_date=day)] == [
        "/price AAPL"
    ]
    assert len(db.get_all_command_audit(start_date=datetime.fromtimestamp(NOW + 1, UTC))) == 2
    with pytest.raises(QueryError):
        db.get_all_command_audit(start_date="yesterday")
    with pytest.raises(QueryError):
        db.get_all_command_audit(limit=-1)


def test_codes_are_those_of_their_user_and_hour(db: TelegramService) -> None:
    db.set_user_email("7", "ann@example.com", "11111111", NOW - 60)
    db.set_verification_code("7", code="22222222", sent_time=NOW)
    db.set_user_email("8", "bob@example.com", "33333333", NOW)
    assert (db.count_codes_last_hour("7"), db.count_codes_last_hour("8")) == (2, 1)
    before = [db.count_codes_last_hour("7", at) for at in (NOW - 61, NOW - 60, NOW - 1, NOW)]
    assert before == [0, 1, 1, 2]
    assert db.verify_code("7", "33333333") is False
    assert db.verify_code("8", "22222222") is False
    assert (db.verify_code("7", "22222222"), db.verify_code("8", "33333333")) == (True, True)


def test_a_chat_is_not_the_name_at_another_service(database: Database, clock: ManualClock) -> None:
    with DatabaseService(database, clock).uow() as repos:
        number = repos.users.ensure_user_for_telegram("mail-name", provider="mail")
        found = repos.users.get_user_notification_channels(number)
    assert found == {"email": None, "telegram_chat_id": None}


def test_each_filter_of_the_audit_decides(db: TelegramService) -> None:
    for user, command, success in (
        ("7", "a", True),
        ("7", "b", True),
        ("7", "a", False),
        ("8", "a", True),
    ):
        db.log_command_audit(user, command, success=success)

    def numbers(**wanted: Any) -> list[int]:
        return sorted(one["id"] for one in db.get_all_command_audit(**wanted))

    assert numbers() == [1, 2, 3, 4]
    assert (numbers(command="a"), numbers(command="b")) == ([1, 3, 4], [2])
    assert (numbers(success_only=True), numbers(success_only=False)) == ([1, 2, 4], [1, 2, 3, 4])
    assert (numbers(user_id="7"), numbers(user_id="8")) == ([1, 2, 3], [4])
    assert numbers(user_id="7", command="a", success_only=True) == [1]


@pytest.mark.parametrize("text", TEXTS)
def test_any_text_comes_back_or_is_refused(db: TelegramService, text: str) -> None:
    db.set_setting("key", text)
    assert db.get_setting("key") == text
    db.add_feedback("7", "bug", text)
    assert db.list_feedback()[0]["message"] == text
    db.log_command_audit("7", "/price", full_message=text, error_message=text)
    (row,) = db.get_all_command_audit()
    assert (row["full_message"], row["error_message"]) == (text, text)
    for refuse in (
        lambda: db.set_setting("key", text + "\0" + text),
        lambda: db.set_setting("key", "\ud800"),
        lambda: db.add_feedback("7", "bug", "a" * 10_001),
        lambda: db.log_command_audit("7", "c" * 256),
        lambda: db.log_command_audit("\u202e7", "/price"),
    ):
        with pytest.raises(QueryError):
            refuse()


# --- how they are called -------------------------------------------------------------------------


def test_module_and_instance_have_the_same_functions() -> None:
    instance = telegram_service.telegram_service
    names = {name for name in vars(TelegramService) if not name.startswith("_")}
    names -= {"part", *RECORDS}
    assert len(names) > 25
    for name in names:
        assert getattr(telegram_service, name) == getattr(instance, name)
        own = inspect.signature(getattr(TelegramRepository, name))
        assert inspect.signature(getattr(TelegramService, name)) == own
    with pytest.raises(AttributeError):
        instance.get_all_userz  # type: ignore[attr-defined] # noqa: B018 - the name is what is tried


@pytest.mark.parametrize(
    ("service", "part", "logic"),
    [
        (UsersService, "users", UsersRepo),
        (TradingService, "trading", TradeRepository),
        (JobsService, "jobs", JobsRepository),
        (TelegramService, "telegram", TelegramRepository),
    ],
)
def test_each_function_is_served_and_only_those_with_a_bool_or_none_log_a_rejected_value(
    service: type[BaseDBService], part: str, logic: type[Repository]
) -> None:
    def reject(*_: Any, **__: Any) -> None:
        raise QueryError("rejected")

    class Units:
        """Units of work in which every function rejects its values."""

        writes: bool | None = None

        def current(self) -> None:
            """Return no open unit."""

        @contextmanager
        def unit(self, *, writes: bool) -> Iterator[Any]:
            self.writes = writes
            functions = inspect.getmembers(logic, inspect.isfunction)
            yield SimpleNamespace(**{part: SimpleNamespace(**{n: reject for n, _ in functions})})

    units = Units()
    db, mine = service(units), type("Mine", (service,), {})(units)  # type: ignore[arg-type]
    own = {*vars(Repository), "create_user"}
    for name, function in inspect.getmembers(logic, inspect.isfunction):
        if name.startswith(("_", "lock")) or name in own:
            continue
        returned = str(function.__annotations__["return"])
        for called in (getattr(db, name), getattr(mine, name)):
            units.writes = None
            try:
                found = repr(called())
            except QueryError:
                found = "raised"
            is_reading = name.startswith(("get_", "list_", "count_", "latest_", "validate_"))
            is_logged = returned.endswith("| None") if is_reading else returned == "bool"
            expected = {False: "raised", True: "None" if is_reading else "False"}[is_logged]
            assert (found, units.writes) == (expected, not is_reading), name


def test_the_documented_flow_works(database: Database, monkeypatch: pytest.MonkeyPatch) -> None:
    url = database.url.url.render_as_string(hide_password=False)
    monkeypatch.setenv("DB_URL", url.replace("postgresql+psycopg", "postgresql"))
    database_service.services.forget()
    try:
        telegram_service.set_user_limit("123456", "max_alerts", 2)
        service = database_service.get_database_service()
        service.init_databases()
        with service.get_telegram_repo() as repo:
            repo.set_user_limit("123456", "max_schedules", 5)
            status = repo.get_user_status("123456")
        assert telegram_service.get_user_limit("123456", "max_schedules") == 5
        assert status == telegram_service.get_user_status("123456")
        assert database_service.database_service is service
        assert service.trading_manager is service.telegram_manager
        service.database.close()
    finally:
        database_service.services.forget()


def test_a_nested_unit_of_work_is_part_of_the_outer_one(database: Database) -> None:
    service = DatabaseService(database)
    db = TelegramService(service)

    def fail() -> None:
        with service.uow() as repos:
            db.set_setting("a", "1")
            assert db.update_user_language("7", "nonsense!") is False
            assert repos.telegram_settings.get("a") is not None
            raise ZeroDivisionError

    with pytest.raises(ZeroDivisionError):
        fail()
    assert db.get_setting("a") is None


def test_a_failed_nested_unit_rolls_back_only_its_own_writes(
    database: Database,
) -> None:
    service = DatabaseService(database)

    def fail() -> None:
        with service.uow() as inner:
            inner.telegram_settings.set("inner", "1")
            raise ZeroDivisionError

    with service.uow() as outer:
        outer.telegram_settings.set("before", "1")
        with pytest.raises(ZeroDivisionError):
            fail()
        outer.telegram_settings.set("after", "1")
    db = TelegramService(service)
    kept = [db.get_setting(name) for name in ("before", "inner", "after")]
    assert kept == ["1", None, "1"]


def test_services_of_other_programs_run_their_methods_in_units(database: Database) -> None:
    class Own(BaseDBService):
        @with_uow
        def both(self) -> None:
            self.repos.telegram_settings.set("a", "1")
            self.inner()

        @with_uow
        def inner(self) -> None:
            assert self.uow is self.repos
            self.repos.telegram_settings.set("b", "2")

    own = Own.of(database)
    own.both()
    with pytest.raises(DataError):
        own.repos  # noqa: B018 - the property raises
    assert TelegramService.of(database).get_setting("b") == "2"


def test_users_service_answers_with_dicts_and_loaded_objects(database: Database) -> None:
    users = UsersService.of(database)
    number = users.ensure_user_for_telegram(7, {"email": "ann@example.com"})
    assert users.ensure_user_for_telegram("7") == number
    users.update_telegram_profile("7", approved=True, max_alerts=3)
    user = users.get_user_by_telegram_id("7")
    assert user is not None
    assert (user.id, user.email, user.role) == (number, "ann@example.com", "trader")
    assert users.get_user_by_id(number) is not None
    assert users.get_user_by_id(99) is None
    profile = users.get_telegram_profile(7)
    assert profile is not None
    assert (profile["user_id"], profile["max_alerts"]) == (number, 3)
    channels = users.get_user_notification_channels(number)
    assert channels == {"email": "ann@example.com", "telegram_chat_id": "7"}
    assert users.create_user("bob@example.com", "admin")["role"] == "admin"
    with pytest.raises(QueryError):
        users.create_user("bob@example.com", "admin")
    with pytest.raises(QueryError, match="approved"):
        users.update_telegram_profile("7", aproved=True)
    assert users.list_pending_telegram_approvals() == []
    assert users.get_admin_telegram_user_ids() == []
    assert [one["telegram_user_id"] for one in users.list_users_for_broadcast()] == ["7"]


# --- older names -----------------------------------------------------------------------------------


def test_functions_that_are_not_available_name_the_alternative(db: TelegramService) -> None:
    with pytest.raises(QueryError, match="log_broadcast is not available"):
        telegram_service.log_broadcast("text", "1", 1, 1)
    with pytest.raises(QueryError, match="passwords"):
        UsersService.of(db.db_service.database).authenticate_user_by_email("a@b", "x")


def test_sessions_by_their_older_names(database_url: str, monkeypatch: pytest.MonkeyPatch) -> None:
    from src.data.db.core import database as older
    from src.data.db.models import Setting

    monkeypatch.setenv("DB_URL", database_url)
    older.create_all_tables()
    with older.session_scope() as session:
        session.add(Setting(key="a", value="1"))
    with older.SessionLocal() as session:
        assert session.get_one(Setting, "a").value == "1"
    assert older.get_engine() is older.get_database().engine
    engine = older.make_engine(older.DB_URL)
    assert engine.url == older.get_engine().url
    with pytest.raises(DataError):
        older.drop_all_tables()
    monkeypatch.setenv("ALLOW_DROP_TABLES", "1")
    older.drop_all_tables()
    assert older.get_database().schema.state().name == "empty"
    older.get_database().close()
