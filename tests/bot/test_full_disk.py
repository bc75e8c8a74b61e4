"""The bot's records on a full disk: every command is answered, and no record is lost."""

from __future__ import annotations

from typing import Any

import pytest
from sqlalchemy import event
from sqlalchemy.pool import Pool

from tests.bot.conftest import ANN, BOB, ChatsWithRecords


class Full:
    """Lets no page be added to a SQLite database, as a disk that is full."""

    is_full = False

    def __enter__(self) -> Full:
        event.listen(Pool, "checkout", self._limit)
        return self

    def __exit__(self, *_: object) -> None:
        event.remove(Pool, "checkout", self._limit)

    def _limit(self, connection: Any, *_: object) -> None:
        # It never goes below the pages that there are.
        connection.execute(f"PRAGMA max_page_count = {1 if self.is_full else 1 << 30}")


def test_commands_on_a_full_disk_are_answered_and_no_record_is_lost(
    bot_chats: ChatsWithRecords, caplog: pytest.LogCaptureFixture
) -> None:
    bot_chats.join(ANN, "ann@example.com")
    assert bot_chats.say("/alert BTCUSDT above 1000000").text.startswith("Alert 1")
    with Full() as full:
        full.is_full = True
        text = "x" * 900
        told = [bot_chats.say(f"/feedback {text} {n}").text for n in range(12)]
        thanks = [one for one in told if one.startswith("Thank you")]
        assert told == [
            *thanks,
            *["The records stored for this program cannot be used at the moment."]
            * (12 - len(thanks)),
        ]
        assert len(thanks) < 12
        assert bot_chats.say("/price BTCUSDT").text.startswith("BTCUSDT 26804.01")
        assert "BTCUSDT" in bot_chats.say("/alert").text
        bot_chats.run()
        assert bot_chats.say("/register bob@example.com", BOB).text
        assert bot_chats.say("/nonsense", BOB).text
        full.is_full = False
        assert (
            bot_chats.say("/feedback short").text
            == f"Thank you; it has the number {len(thanks) + 1}."
        )
        assert "BTCUSDT" in bot_chats.say("/alert").text
        bot_chats.join(BOB, "bob@example.org")
    warned = [one for one in caplog.records if "is not in the audit" in one.getMessage()]
    assert warned and not any(one.exc_info for one in warned)
    assert "No error handlers" not in caplog.text, "nothing was raised past the bot"
