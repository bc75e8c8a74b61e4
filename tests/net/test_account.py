from __future__ import annotations

from src.data.net.account import Account

SALT = b"s" * 32


def test_an_account_is_told_by_vendor_and_keys_whatever_their_order() -> None:
    one = Account("acme", ("key", "secret")).named(SALT)
    assert one == Account("acme", ("secret", "key")).named(SALT)
    others = [("acme", ("key",)), ("acme", ("key", "other")), ("emca", ("key", "secret"))]
    assert one not in [Account(*other).named(SALT) for other in others]
    assert Account("acme").named(SALT) == "acme:-"


def test_nothing_shows_the_keys() -> None:
    account = Account("acme", ("CANARY-1234567890",))
    assert "CANARY" not in repr(account) + account.named(SALT)
    assert account.named(SALT) != account.named(b"t" * 32)
