"""The Bot API by hand: what it accepts, and what it refuses in which words."""

from __future__ import annotations

import http.client
import json
import socket
import struct
import threading
from collections.abc import Iterator, Mapping
from contextlib import suppress
from random import Random
from socketserver import StreamRequestHandler
from typing import Any
from unittest import mock
from urllib.parse import urlencode, urlsplit

import pytest

from onetape.data.core.clock import ManualClock

from .bot_api import TOKEN, Sent, Telegram
from .bot_markup import NotPlayedError
from .faults import Fault
from .server import VendorServer

ANN, BOB = 11, 12
FORM = "application/x-www-form-urlencoded"
MULTIPART = "multipart/form-data; boundary=--end--of--part"
_END = b"----end--of--part--\r\n"


def picture(width: int = 800, height: int = 500) -> bytes:
    """Return the beginning of a PNG, which is all that is looked at."""
    return b"\x89PNG\r\n\x1a\n\0\0\0\rIHDR" + struct.pack(">II", width, height)


class Bot:
    """A client of its own connection."""

    def __init__(self, vendors: VendorServer, token: str = TOKEN) -> None:
        url = urlsplit(vendors.base_url("telegram"))
        self.prefix = f"{url.path}/bot{token}/"
        self.wire = http.client.HTTPConnection(url.hostname or "", url.port, timeout=30)

    def post(self, method: str, body: bytes, kind: str) -> tuple[int, dict[str, Any]]:
        self.wire.request("POST", self.prefix + method, body, {"Content-Type": kind})
        response = self.wire.getresponse()
        return response.status, json.loads(response.read())

    def call(self, method: str, **values: Any) -> Any:
        status, answer = self.post(method, urlencode(values).encode(), FORM)
        assert status == 200 and answer["ok"], answer
        return answer["result"]

    def refused(self, method: str, **values: Any) -> tuple[int, str]:
        status, answer = self.post(method, urlencode(values).encode(), FORM)
        assert not answer["ok"] and answer["error_code"] == status
        return status, answer["description"]

    def photo(self, photo: bytes, **values: str) -> tuple[int, dict[str, Any]]:
        parts = [_part(name, value.encode()) for name, value in values.items()]
        parts.append(_part("photo", photo, '; filename="a.png"'))
        return self.post(
            "sendPhoto",
            b"".join(parts) + _END,
            MULTIPART,
        )


def _part(name: str, value: bytes, more: str = "") -> bytes:
    head = f'----end--of--part\r\nContent-Disposition: form-data; name="{name}"{more}\r\n\r\n'
    return head.encode() + value + b"\r\n"


@pytest.fixture
def people(vendors: VendorServer) -> Telegram:
    face = vendors.face("telegram")
    assert isinstance(face, Telegram)
    face.write(ANN, "/start")
    return face


@pytest.fixture
def bot(vendors: VendorServer, people: Telegram) -> Iterator[Bot]:
    one = Bot(vendors)
    yield one
    one.wire.close()


# --- who calls what


def test_the_token_is_looked_at_first(vendors: VendorServer) -> None:
    for token, status in ((TOKEN[:-1] + "x", 401), ("nonsense", 404), ("", 404)):
        bot = Bot(vendors, token)
        assert bot.refused("getMe")[0] == status
        bot.wire.close()


def test_methods_are_case_insensitive_and_unknown_ones_are_404(bot: Bot) -> None:
    assert bot.call("GETME") == bot.call("getMe") and bot.call("getme")["is_bot"]
    assert bot.refused("sendPigeon") == (404, "Not Found: method not found")


# --- bodies


def test_a_text_comes_by_form_json_multipart_or_query(bot: Bot, people: Telegram) -> None:
    document = json.dumps({"chat_id": ANN, "text": "in JSON"}).encode()
    parts = _part("chat_id", b"11") + _part("text", "in \u00fcnicode".encode()) + _END
    bot.call("sendMessage", chat_id=ANN, text="in a form & more")
    assert bot.post("sendMessage", document, "application/json")[0] == 200
    assert bot.post("sendMessage", parts, MULTIPART)[0] == 200
    bot.wire.request("GET", bot.prefix + "sendMessage?chat_id=11&text=in+a+query")
    assert bot.wire.getresponse().read()
    texts = [one.text for one in people.sent(ANN)]
    assert texts == ["in a form & more", "in JSON", "in \u00fcnicode", "in a query"]


@pytest.mark.parametrize(
    "body, kind, words",
    [
        (b"chat_id=11&text=a&text=b", FORM, "a parameter comes twice"),
        (b"chat_id=11&text", FORM, "the body cannot be read"),
        (b"chat_id=11&text=%FF", FORM, "the body cannot be read"),
        (b"{", "application/json", "the body cannot be read"),
        (b"[1]", "application/json", "the body cannot be read"),
        (b"--x\r\n", "multipart/form-data; boundary=y", "the body cannot be read"),
        (b"chat_id=11", "text/plain", "unsupported content type"),
    ],
)
def test_a_body_that_cannot_be_read_is_refused(
    bot: Bot, people: Telegram, body: bytes, kind: str, words: str
) -> None:
    status, answer = bot.post("sendMessage", body, kind)
    assert status == 400 and words in answer["description"]
    assert people.sent() == []


# --- texts


def test_a_text_has_4096_characters_and_a_caption_1024(bot: Bot, people: Telegram) -> None:
    face = "\N{GRINNING FACE}"  # two units each
    for text in ("x" * 4096, face * 2048):
        bot.call("sendMessage", chat_id=ANN, text=text)
        refused = bot.refused("sendMessage", chat_id=ANN, text=text + "x")
        assert refused == (400, "Bad Request: message is too long")
    bot.call("sendMessage", chat_id=ANN, text=f"<b>{'x' * 4096}</b>", parse_mode="HTML")
    assert people.sent()[-1].text == "x" * 4096, "markup does not count"
    assert bot.photo(picture(), chat_id="11", caption="x" * 1024)[0] == 200
    status, answer = bot.photo(picture(), chat_id="11", caption="x" * 1025)
    assert (status, answer["description"]) == (400, "Bad Request: message caption is too long")
    for text in ("", " \n", "<b></b>"):
        refused = bot.refused("sendMessage", chat_id=ANN, text=text, parse_mode="HTML")
        assert refused == (400, "Bad Request: message text is empty")


@pytest.mark.parametrize(
    "mode, text, words",
    [
        ("HTML", "a < b", 'Unclosed start tag "" at byte offset 2'),
        ("HTML", "\u00fc<h1>", 'Unsupported start tag "h1" at byte offset 2'),
        ("HTML", "<b>x</i>", 'Unmatched end tag at byte offset 4, expected "</b>", found "</i>"'),
        ("HTML", "x</b>", "Unmatched end tag at byte offset 1"),
        ("HTML", "<b>x", 'Can\'t find end tag corresponding to start tag "b"'),
        ("MarkdownV2", "203.04", "Character '.' is reserved and must be escaped with the preceding '\\'"),
        ("MarkdownV2", "\u00fc*x", "Can't find end of Bold entity at byte offset 2"),
        ("markdownv2", "`a", "Can't find end of Code entity at byte offset 0"),
        ("XML", "x", "unsupported parse_mode 'XML'"),
    ],
)  # fmt: skip
def test_markup_that_is_wrong_is_an_entity_error(
    bot: Bot, people: Telegram, mode: str, text: str, words: str
) -> None:
    refused = bot.refused("sendMessage", chat_id=ANN, text=text, parse_mode=mode)
    assert refused == (400, f"Bad Request: can't parse entities: {words}")
    assert people.sent() == []


def test_messages_are_shown_without_their_markup(bot: Bot, people: Telegram) -> None:
    shown = [
        ("HTML", '<b>a &lt; b</b> &amp; <a href="x">c</a> &nbsp; &#65;', "a < b & c &nbsp; A"),
        ("MarkdownV2", "*a* __b__ ||c|| `d.*` [e](f) 1\\.5", "a b c d.* e 1.5"),
        ("", "<b>*_", "<b>*_"),
    ]
    for mode, text, _ in shown:
        bot.call("sendMessage", chat_id=ANN, text=text, parse_mode=mode)
    assert [one.text for one in people.sent()] == [text for *_, text in shown]
    beyond = json.dumps([{"type": "bold", "offset": 1, "length": 3}])
    refused = bot.refused("sendMessage", chat_id=ANN, text="abc", entities=beyond)
    assert refused == (400, "Bad Request: ENTITY_BOUNDS_INVALID")


# --- chats, buttons, pictures


def test_a_chat_is_there_when_the_user_has_written_first(bot: Bot, people: Telegram) -> None:
    assert bot.refused("sendMessage", text="x")[1] == "Bad Request: chat_id is empty"
    assert bot.refused("sendMessage", chat_id=BOB, text="x")[1] == "Bad Request: chat not found"
    people.write(BOB, "hello")
    assert bot.call("sendMessage", chat_id=BOB, text="x")["chat"]["id"] == BOB
    people.block(BOB)
    words = (403, "Forbidden: bot was blocked by the user")
    assert bot.refused("sendMessage", chat_id=BOB, text="x") == words
    assert bot.refused("sendChatAction", chat_id=BOB, action="typing") == words
    people.unblock(BOB)
    assert bot.call("sendMessage", chat_id=BOB, text="x")
    assert len(people.sent(BOB)) == 2


def keyboard(data: str, label: str = "x") -> str:
    return json.dumps({"inline_keyboard": [[{"text": label, "callback_data": data}]]})


def test_buttons_are_pressed_once_and_return_their_data(bot: Bot, people: Telegram) -> None:
    for data in ("", "\u00fc" * 33):
        refused = bot.refused("sendMessage", chat_id=ANN, text="x", reply_markup=keyboard(data))
        assert refused == (400, "Bad Request: BUTTON_DATA_INVALID")
    assert bot.refused("sendMessage", chat_id=ANN, text="x", reply_markup="{")[0] == 400
    assert (
        bot.refused("sendMessage", chat_id=ANN, text="x", reply_markup=keyboard("a", ""))[0] == 400
    )
    bot.call("sendMessage", chat_id=ANN, text="which", reply_markup=keyboard("\u00fc" * 32))
    (sent,) = people.sent(ANN)
    with pytest.raises(ValueError, match="no button"):
        people.press(sent, "other")
    people.press(sent, "\u00fc" * 32)
    query = bot.call("getUpdates")[-1]["callback_query"]
    assert (query["data"], query["message"]["text"]) == ("\u00fc" * 32, "which")
    assert bot.call("answerCallbackQuery", callback_query_id=query["id"]) is True
    assert (
        "query is too old" in bot.refused("answerCallbackQuery", callback_query_id=query["id"])[1]
    )


def test_a_text_is_edited(bot: Bot, people: Telegram) -> None:
    number = bot.call("sendMessage", chat_id=ANN, text="wait")["message_id"]
    assert (
        "not modified"
        in bot.refused("editMessageText", chat_id=ANN, message_id=number, text="wait")[1]
    )
    bot.call("editMessageText", chat_id=ANN, message_id=number, text="there")
    assert [one.text for one in people.sent()] == ["there"]
    assert "not found" in bot.refused("editMessageText", chat_id=ANN, message_id=1, text="x")[1]


@pytest.mark.parametrize(
    "photo, status, words",
    [
        (b"", 400, "Bad Request: file must be non-empty"),
        (b"<svg/>", 400, "Bad Request: IMAGE_PROCESS_FAILED"),
        (picture(9000, 1001), 400, "Bad Request: PHOTO_INVALID_DIMENSIONS"),
        (picture(2100, 100), 400, "Bad Request: PHOTO_INVALID_DIMENSIONS"),
        (picture() + bytes(10 << 20), 413, "Request Entity Too Large"),
    ],
    ids=["empty", "no picture", "large", "narrow", "heavy"],
)
def test_a_picture_that_cannot_be_shown_is_refused(
    bot: Bot, people: Telegram, photo: bytes, status: int, words: str
) -> None:
    refused, answer = bot.photo(photo, chat_id="11")
    assert (refused, answer["description"]) == (status, words)
    assert people.sent() == []


def test_a_picture_arrives_byte_for_byte(bot: Bot, people: Telegram) -> None:
    photo = picture() + bytes(range(256)) + Random(1).randbytes(50_000) + b"\r\n--x\r\n\n\r"
    assert bot.photo(photo, chat_id="11", caption="a chart")[0] == 200
    (sent,) = people.sent(ANN)
    assert isinstance(sent, Sent) and (sent.photo, sent.text) == (photo, "a chart")
    assert "no photo" in bot.refused("sendPhoto", chat_id=ANN)[1]


# --- updates


def test_updates_come_until_they_are_confirmed(bot: Bot, people: Telegram) -> None:
    first = bot.call("getUpdates")
    assert first == bot.call("getUpdates"), "nothing was confirmed"
    assert first[0]["message"]["entities"] == [{"type": "bot_command", "offset": 0, "length": 6}]
    number = people.write(ANN, "more")
    assert [u["update_id"] for u in bot.call("getUpdates", limit=1)] == [first[0]["update_id"]]
    assert [u["update_id"] for u in bot.call("getUpdates", offset=-1)] == [number]
    assert bot.call("getUpdates", offset=number + 1) == []
    people.repeat(number)
    again = bot.call("getUpdates", offset=number + 1)
    assert [u["update_id"] for u in again] == [number], "one update twice"
    assert bot.call("getUpdates", offset=number + 1) == []


def test_only_updates_of_the_kinds_that_are_allowed_come(bot: Bot, people: Telegram) -> None:
    edited = people.write(ANN, "edited", edited=True)
    assert len(bot.call("getUpdates", allowed_updates='["message"]')) == 1
    assert len(bot.call("getUpdates")) == 1, "it is remembered"
    assert bot.call("getUpdates", allowed_updates="[]")[-1]["update_id"] == edited


def test_a_waiting_poll_is_ended_by_a_second_poller(
    vendors: VendorServer, bot: Bot, people: Telegram
) -> None:
    (update,) = bot.call("getUpdates")
    offset, ended = update["update_id"] + 1, list[tuple[int, str]]()
    waiting = threading.Thread(
        target=lambda: ended.append(bot.refused("getUpdates", offset=offset, timeout=30))
    )
    waiting.start()
    assert vendors.wait_for("telegram", 2)
    other = Bot(vendors)
    polled: list[Any] = []
    second = threading.Thread(
        target=lambda: polled.append(other.call("getUpdates", offset=offset, timeout=30))
    )
    second.start()
    waiting.join(10)
    assert ended and ended[0][0] == 409 and "terminated by other getUpdates" in ended[0][1]
    people.write(ANN, "x")
    second.join(10)
    assert polled[0][0]["message"]["text"] == "x"
    other.wire.close()


def test_a_server_that_stops_lets_a_poll_go(clock: ManualClock) -> None:
    server, ended = VendorServer(clock).start(), threading.Event()

    def poll() -> None:
        with suppress(OSError, http.client.HTTPException):
            assert Bot(server).call("getUpdates", timeout=60) == []
        ended.set()

    threading.Thread(target=poll, daemon=True).start()
    assert server.wait_for("telegram", 1)
    server.stop()
    assert ended.wait(5)


# --- faults


def test_a_refusal_has_the_wait_in_its_body(vendors: VendorServer, bot: Bot) -> None:
    vendors.fault("telegram", Fault.throttle(7), times=1, path="sendMessage")
    status, answer = bot.post("sendMessage", b"chat_id=11&text=x", FORM)
    assert (status, answer["parameters"]) == (429, {"retry_after": 7})
    assert answer["description"] == "Too Many Requests: retry after 7"
    vendors.limit("telegram", 0)
    assert bot.post("getMe", b"", FORM)[1]["parameters"]["retry_after"] > 0


def test_faults_are_bound_to_one_chat(vendors: VendorServer, bot: Bot, people: Telegram) -> None:
    people.write(BOB, "hello")
    vendors.fault("telegram", Fault.refuse("forbidden"), symbol="11")
    vendors.fault("telegram", Fault.status(502), symbol="12", path="sendPhoto")
    assert bot.refused("sendMessage", chat_id=ANN, text="x")[0] == 403
    assert bot.call("sendMessage", chat_id=BOB, text="x")


@pytest.mark.parametrize(
    "fault", [Fault.lost(), Fault.truncate(0), Fault.cut(0)], ids=lambda f: f.name
)
def test_an_answer_is_cut_behind_a_message_that_was_accepted(
    vendors: VendorServer, bot: Bot, people: Telegram, fault: Fault
) -> None:
    vendors.fault("telegram", fault, times=1)
    with pytest.raises((OSError, http.client.HTTPException, ValueError)):
        bot.call("sendMessage", chat_id=ANN, text="x")
    assert [one.text for one in people.sent(ANN)] == ["x"]
    vendors.fault("telegram", Fault.reset(), times=1)
    bot.wire.close()
    with pytest.raises((OSError, http.client.HTTPException)):
        bot.call("sendMessage", chat_id=ANN, text="y")
    assert len(people.sent(ANN)) == 1, "a connection that ends before it was not accepted"


def test_head_and_body_are_one_write(
    vendors: VendorServer, bot: Bot, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Two writes would wait for each other's acknowledgement: 48 ms in place of 5."""
    handlers = list[Any]()
    setup = StreamRequestHandler.setup

    def watched(handler: Any) -> None:
        setup(handler)
        handler.wfile = mock.Mock(wraps=handler.wfile)
        handlers.append(handler)

    monkeypatch.setattr(StreamRequestHandler, "setup", watched)
    bot.call("getMe")
    (handler,) = handlers
    assert handler.wfile.write.call_count == 1
    assert handler.connection.getsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY)


def test_an_unsupported_field_is_an_error_of_the_server(vendors: VendorServer, bot: Bot) -> None:
    values: Mapping[str, Any] = {"chat_id": ANN, "text": "x", "parse_mode": "Markdown"}
    with pytest.raises((OSError, http.client.HTTPException)):
        bot.call("sendMessage", **values)
    assert isinstance(vendors.errors.pop(), NotPlayedError)
