"""Account names: the same for any order of keys, and without showing the keys."""

from __future__ import annotations

from src.data.core.net.http.audit import fingerprint
from src.data.core.net.limits.state_tables import Account

SALT = b"s" * 32


def test_an_account_is_identified_by_vendor_and_keys_in_any_order() -> None:
    one = Account("acme", ("key", "secret")).named(SALT)
    assert one == Account("acme", ("secret", "key")).named(SALT)
    others = [("acme", ("key",)), ("acme", ("key", "other")), ("emca", ("key", "secret"))]
    assert one not in [Account(*other).named(SALT) for other in others]
    assert Account("acme").named(SALT) == "acme:-"


def test_the_account_name_of_a_family_member_contains_its_full_vendor_name() -> None:
    name = Account("ccxt:okx", ("key",)).named(SALT)
    assert name.startswith("ccxt:okx:")
    assert fingerprint(name) == name.removeprefix("ccxt:okx:")[:8]


def test_no_text_form_of_an_account_shows_its_keys() -> None:
    account = Account("acme", ("CANARY-1234567890",))
    assert "CANARY" not in repr(account) + account.named(SALT)
    assert account.named(SALT) != account.named(b"t" * 32)
