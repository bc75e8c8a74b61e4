"""Telegram's Bot API, strictly: what the real one refuses is refused here, in its words.

Texts are measured in UTF-16 units after their markup is taken out, the stricter reading of "characters".
Left out, and an error of the server itself where a client uses it: webhooks, ``Markdown`` of old, keyboards
other than inline ones, files by address or id.
"""

from __future__ import annotations

import json
import re
import struct
import threading
from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from email.parser import BytesParser
from typing import Any, ClassVar, NoReturn
from urllib.parse import parse_qsl

from .bot_markup import MarkupError, NotPlayedError, units, visible
from .face import STATUS, Context, Face, Reason, Reply, Request
from .listings import Listing

# Of the shape of a real one; no text may show it.
TOKEN = "424242:AAcanary-of-a-bot-token_0123456789AB"
MOST_TEXT, MOST_CAPTION, MOST_BUTTON_BYTES = 4096, 1024, 64
MOST_PHOTO_BYTES, MOST_PHOTO_SIDES = 10 << 20, 10_000
_PATH = re.compile(r"/bot([^/]*)/(\w+)")
_SHAPE = re.compile(r"\d+:[\w-]{30,}")
_COMMAND = re.compile(r"/\w+(?:@\w+)?")
_BOT = {"id": 424242, "is_bot": True, "first_name": "Tape", "username": "tape_bot"}
_UNCHANGED = (
    "message is not modified: specified new message content and reply markup are exactly the same as a "
    "current content and reply markup of the message"
)
_KINDS = ("message", "edited_message", "callback_query")
_DESCRIPTIONS: Mapping[Reason, str] = {
    "unknown_symbol": "Not Found", "throttled": "Too Many Requests: retry after 1",
    "unauthorized": "Unauthorized", "forbidden": "Forbidden: bot was blocked by the user",
}  # fmt: skip


@dataclass(frozen=True)
class Sent:
    """A message of the bot that was accepted.

    Attributes:
        text: without markup; of a photo its caption.
        photo: the bytes of the picture, None of a text.
        buttons: rows of (label, callback data).
    """

    message_id: int
    chat_id: int
    text: str
    photo: bytes | None = None
    buttons: tuple[tuple[tuple[str, str], ...], ...] = ()

    @property
    def data(self) -> list[str]:
        """The callback data of all buttons, in order."""
        return [data for row in self.buttons for _, data in row]


class Refusal(Exception):
    """The API refuses a call: HTTP status, description, ``parameters``."""

    def __init__(self, status: int, description: str, **parameters: int) -> None:
        super().__init__(description)
        self.status, self.description, self.parameters = status, description, parameters


def _bad(text: str) -> NoReturn:
    raise Refusal(400, f"Bad Request: {text}")


@dataclass(frozen=True)
class _Parameters:
    """The parameters of a call: texts, and files by field with their bytes."""

    texts: Mapping[str, str]
    files: Mapping[str, bytes]

    @classmethod
    def of(cls, request: Request) -> _Parameters:
        """Read query, form, JSON or multipart body; a parameter that comes twice is refused."""
        kind = request.headers.get("content-type", "").partition(";")[0].strip().lower()
        pairs: list[tuple[str, str]] = list(request.params.items())
        files: dict[str, bytes] = {}
        try:
            if kind == "multipart/form-data":
                pairs += _read_parts(request, files)
            elif kind == "application/json":
                body = json.loads(request.body)
                pairs += [(k, v if isinstance(v, str) else json.dumps(v)) for k, v in body.items()]
            elif kind == "application/x-www-form-urlencoded":
                pairs += _read_form(request.body.decode())
            elif request.body:
                _bad(f"unsupported content type {kind!r}")
        except (ValueError, AttributeError) as error:
            _bad(f"the body cannot be read as {kind}: {error}")
        texts = dict(pairs)
        if len(texts) < len(pairs):
            _bad("a parameter comes twice")
        return cls(texts, files)

    def whole(self, name: str, default: int) -> int:
        """Return a whole number."""
        try:
            return int(self.texts.get(name, default))
        except ValueError:
            _bad(f'can\'t parse field "{name}"')

    def document(self, name: str, default: Any) -> Any:
        """Return a parameter that is JSON."""
        try:
            return json.loads(self.texts[name]) if name in self.texts else default
        except ValueError:
            _bad(f'can\'t parse "{name}" JSON object')


def _read_form(form: str) -> list[tuple[str, str]]:
    is_strict = bool(form)
    return parse_qsl(form, keep_blank_values=True, strict_parsing=is_strict, errors="strict")


def _read_parts(request: Request, files: dict[str, bytes]) -> list[tuple[str, str]]:
    """Return the texts of a multipart body, and put its files into ``files``."""
    head = f"Content-Type: {request.headers['content-type']}\r\n\r\n".encode()
    message = BytesParser().parsebytes(head + request.body)
    if not message.is_multipart() or message.defects:
        raise ValueError("no complete parts")
    pairs = []
    for part in message.get_payload():
        assert not isinstance(part, str)
        name = str(part.get_param("name", header="content-disposition"))
        payload: Any = part.get_payload(decode=True)
        if part.get_filename() is None:
            pairs.append((name, payload.decode()))
        elif name in files:
            raise ValueError(f"file {name!r} comes twice")
        else:
            files[name] = payload
    return pairs


class Telegram(Face):
    """The Bot API of one bot, and the people who write to it. Thread-safe.

    ``base_url("telegram") + "/bot"`` is what a client is configured with, :data:`TOKEN` its token. Faults
    of the server work as on any face; of those bound to a symbol the symbol is the chat's id. An answer
    that is lost behind an accepted message is ``Fault.lost()``, ``truncate()`` or ``hold()``.

    Attributes:
        offsets: of each ``getUpdates`` so far, in order.
    """

    name: ClassVar[str] = "telegram"

    def __init__(self) -> None:
        self._change = threading.Condition()
        self._updates: list[dict[str, Any]] = []
        self._seen: dict[int, dict[str, Any]] = {}
        self._repeated: list[dict[str, Any]] = []
        self._allowed: tuple[str, ...] = _KINDS
        self._chats: dict[int, dict[str, Any]] = {}
        self._blocked: set[int] = set()
        self._sent: list[Sent] = []
        self._queries: set[str] = set()
        self._poll = 0
        self._is_closed = False
        self._last_id = 100
        self.offsets: list[int] = []

    # --- the people

    def write(
        self,
        chat_id: int,
        text: str,
        *,
        edited: bool = False,
        group: int = 0,
        anonymous: bool = False,
    ) -> int:
        """Send a message to the bot, in private or in a group; return the id of its update.

        An anonymous administrator of a group writes as the group, through a bot of Telegram.
        """
        with self._change:
            sender, place = _person(chat_id), group or chat_id
            self.begin(place)
            if group:
                self._chats[place] = {"id": place, "type": "supergroup", "title": "Group"}
            message = {
                "message_id": self._next(), "from": sender, "chat": self._chats[place], "text": text,
            }  # fmt: skip
            if anonymous:
                message["from"] = sender | {"id": 1087968824, "is_bot": True}
                message["sender_chat"] = self._chats[place]
            if (command := _COMMAND.match(text)) is not None:
                length = units(command.group())
                message["entities"] = [{"type": "bot_command", "offset": 0, "length": length}]
            return self._push("edited_message" if edited else "message", message)

    def begin(self, user: int) -> None:
        """Let a user have written before: until then the bot cannot write to that user."""
        self._chats[user] = {"id": user, "type": "private", "first_name": "User"}

    def press(self, sent: Sent, data: str) -> int:
        """Press the button with this data below a message of the bot; return the id of the update.

        Raises:
            ValueError: there is no such button.
        """
        if data not in sent.data:
            raise ValueError(f"no button {data!r} among {sent.data}")
        with self._change:
            query = str(self._next())
            self._queries.add(query)
            pressed = {
                "id": query, "from": _person(sent.chat_id), "message": self._shown(sent, date_s=1),
                "chat_instance": "1", "data": data,
            }  # fmt: skip
            return self._push("callback_query", pressed)

    def press_inline(self, user: int, data: str) -> int:
        """Press a button whose message is in no chat that the bot sees; return the id of the update."""
        with self._change:
            query = str(self._next())
            self._queries.add(query)
            pressed = {
                "id": query, "from": _person(user), "inline_message_id": "1", "chat_instance": "1",
                "data": data,
            }  # fmt: skip
            return self._push("callback_query", pressed)

    def repeat(self, update_id: int) -> None:
        """Deliver an update again, although it was confirmed."""
        with self._change:
            self._repeated.append(self._seen[update_id])
            self._change.notify_all()

    def block(self, chat_id: int) -> None:
        """The user blocks the bot."""
        with self._change:
            self._blocked.add(chat_id)

    def unblock(self, chat_id: int) -> None:
        """The user lets the bot write again."""
        with self._change:
            self._blocked.discard(chat_id)

    def sent(self, chat_id: int | None = None) -> list[Sent]:
        """Return the accepted messages so far, in order."""
        with self._change:
            return [one for one in self._sent if chat_id in (None, one.chat_id)]

    def wait_sent(self, chat_id: int, count: int, timeout_s: float = 20.0) -> list[Sent]:
        """Wait until a chat has so many messages; return those that it has then."""
        with self._change:
            self._change.wait_for(
                lambda: sum(one.chat_id == chat_id for one in self._sent) >= count, timeout_s
            )
        return self.sent(chat_id)

    def close(self) -> None:
        """Answer the poll that waits, and those to come, at once."""
        with self._change:
            self._is_closed = True
            self._change.notify_all()

    # --- the face

    def spelling(self, listing: Listing) -> str | None:
        """Return None: there is no market here."""
        return None

    def symbol_in(self, request: Request) -> str | None:
        """Return the chat that a call is about."""
        try:
            return _Parameters.of(request).texts.get("chat_id")
        except Refusal:
            return None

    def refusal(self, reason: Reason, now_ms: int) -> Reply:
        """Return the API's own form of a refusal."""
        text = _DESCRIPTIONS.get(reason, "Internal Server Error")
        parameters = {"retry_after": 1} if reason == "throttled" else {}
        return _refused(STATUS[reason], text, parameters)

    def throttled(self, refused: Reply, retry_after: float, until: str) -> Reply:
        """Return a refusal with the wait in its body, as whole seconds."""
        wait = int(retry_after)
        text = f"Too Many Requests: retry after {wait}"
        body = _refused(refused.status, text, {"retry_after": wait}).body
        return super().throttled(replace(refused, body=body), retry_after, until)

    def answer(self, request: Request, context: Context) -> Reply:
        """Carry out one call."""
        place = _PATH.fullmatch(request.path)
        if place is None or not _SHAPE.fullmatch(place[1]):
            return _refused(404, "Not Found")
        if place[1] != TOKEN:
            return _refused(401, "Unauthorized")
        method = _METHODS.get(place[2].lower())
        if method is None:
            return _refused(404, "Not Found: method not found")
        try:
            result = method(self, _Parameters.of(request), context.now_ms // 1000)
        except Refusal as refusal:
            return _refused(refusal.status, refusal.description, refusal.parameters)
        return Reply.json({"ok": True, "result": result})

    # --- calls

    def _get_me(self, _: _Parameters, __: int) -> Any:
        return {**_BOT, "can_join_groups": True, "can_read_all_group_messages": False,
                "supports_inline_queries": False}  # fmt: skip

    def _accept(self, _: _Parameters, __: int) -> Any:
        return True

    def _get_updates(self, call: _Parameters, now_s: int) -> Any:
        offset, limit = call.whole("offset", 0), call.whole("limit", 100)
        wait_s = call.whole("timeout", 0)
        with self._change:
            self.offsets.append(offset)
            self._allowed = tuple(call.document("allowed_updates", self._allowed)) or _KINDS
            self._poll += 1
            own = self._poll
            self._change.notify_all()
            if offset > 0:
                self._updates = [u for u in self._updates if u["update_id"] >= offset]
            elif offset < 0:
                self._updates = self._updates[offset:]

            def ready() -> bool:
                return bool(self._batch(limit)) or self._poll != own or self._is_closed

            self._change.wait_for(ready, wait_s)
            if self._poll != own:
                raise Refusal(
                    409, "Conflict: terminated by other getUpdates request; make sure that only one "
                    "bot instance is running",
                )  # fmt: skip
            batch, self._repeated = self._batch(limit), []
            return [_dated(update, now_s) for update in batch]

    def _batch(self, limit: int) -> list[dict[str, Any]]:
        waiting = [*self._repeated, *self._updates]
        wanted = [u for u in waiting if any(kind in u for kind in self._allowed)]
        return wanted[: min(max(limit, 1), 100)]

    def _send_message(self, call: _Parameters, now_s: int) -> Any:
        text = _text(call, "text", MOST_TEXT)
        if not text.strip():
            _bad("message text is empty")
        return self._keep(call, now_s, text, None)

    def _send_photo(self, call: _Parameters, now_s: int) -> Any:
        named = call.texts.get("photo", "attach://photo")
        if not named.startswith("attach://"):
            raise NotPlayedError("photos by address or file id are not played here")
        photo = call.files.get(named.removeprefix("attach://"))
        if photo is None:
            _bad("there is no photo in the request")
        _check_photo(photo)
        return self._keep(call, now_s, _text(call, "caption", MOST_CAPTION), photo)

    def _keep(self, call: _Parameters, now_s: int, text: str, photo: bytes | None) -> Any:
        buttons = _buttons(call.document("reply_markup", {}))
        with self._change:
            chat_id = self._chat(call)
            self._sent.append(Sent(self._next(), chat_id, text, photo, buttons))
            self._change.notify_all()
            return self._shown(self._sent[-1], now_s)

    def _edit_text(self, call: _Parameters, now_s: int) -> Any:
        text, buttons = _text(call, "text", MOST_TEXT), _buttons(call.document("reply_markup", {}))
        if not text.strip():
            _bad("message text is empty")
        with self._change:
            chat_id, message_id = self._chat(call), call.whole("message_id", 0)
            for place, one in enumerate(self._sent):
                if (one.chat_id, one.message_id) == (chat_id, message_id) and one.photo is None:
                    if (one.text, one.buttons) == (text, buttons):
                        _bad(_UNCHANGED)
                    self._sent[place] = replace(one, text=text, buttons=buttons)
                    self._change.notify_all()
                    return self._shown(self._sent[place], now_s)
        _bad("message to edit not found")

    def _answer_query(self, call: _Parameters, _: int) -> Any:
        query = call.texts.get("callback_query_id", "")
        with self._change:
            if query not in self._queries:
                _bad("query is too old and response timeout expired or query ID is invalid")
            self._queries.remove(query)
        return True

    def _send_action(self, call: _Parameters, _: int) -> Any:
        with self._change:
            self._chat(call)
        if call.texts.get("action") not in ("typing", "upload_photo"):
            _bad("wrong parameter action in request")
        return True

    # --- parts

    def _chat(self, call: _Parameters) -> int:
        """Return the chat of a call; the lock is held."""
        if not call.texts.get("chat_id"):
            _bad("chat_id is empty")
        chat_id = call.whole("chat_id", 0)
        if chat_id not in self._chats:
            _bad("chat not found")
        if chat_id in self._blocked:
            raise Refusal(403, _DESCRIPTIONS["forbidden"])
        return chat_id

    def _next(self) -> int:
        self._last_id += 1
        return self._last_id

    def _push(self, kind: str, payload: dict[str, Any]) -> int:
        number = self._next()
        self._updates.append({"update_id": number, kind: payload})
        self._seen[number] = self._updates[-1]
        self._change.notify_all()
        return number

    def _shown(self, sent: Sent, date_s: int) -> dict[str, Any]:
        shown: dict[str, Any] = {
            "message_id": sent.message_id, "date": date_s, "chat": self._chats[sent.chat_id],
            "from": _BOT,
        }  # fmt: skip
        if sent.photo is None:
            shown["text"] = sent.text
        else:
            shown["photo"] = [{"file_id": "1", "file_unique_id": "1", "width": 1, "height": 1}]
            shown |= {"caption": sent.text} if sent.text else {}
        if sent.buttons:
            rows = [[{"text": t, "callback_data": d} for t, d in row] for row in sent.buttons]
            shown["reply_markup"] = {"inline_keyboard": rows}
        return shown


_METHODS: Mapping[str, Callable[[Telegram, _Parameters, int], Any]] = {
    "getme": Telegram._get_me,
    "deletewebhook": Telegram._accept,
    "setmycommands": Telegram._accept,
    "getupdates": Telegram._get_updates,
    "sendmessage": Telegram._send_message,
    "sendphoto": Telegram._send_photo,
    "sendchataction": Telegram._send_action,
    "editmessagetext": Telegram._edit_text,
    "answercallbackquery": Telegram._answer_query,
}


def _person(chat_id: int) -> dict[str, Any]:
    return {"id": chat_id, "is_bot": False, "first_name": "User"}


def _refused(status: int, text: str, parameters: Mapping[str, int] | None = None) -> Reply:
    document = {"ok": False, "error_code": status, "description": text}
    return Reply.json(document | ({"parameters": parameters} if parameters else {}), status)


def _dated(update: dict[str, Any], now_s: int) -> dict[str, Any]:
    """Return an update whose message has a date: that of its first delivery."""
    for kind in ("message", "edited_message"):
        if kind in update:
            update[kind].setdefault("date", now_s)
    return update


def _text(call: _Parameters, field: str, most: int) -> str:
    """Return a text without its markup."""
    text, mode = call.texts.get(field, ""), call.texts.get("parse_mode", "")
    try:
        text = visible(text, mode)
    except MarkupError as error:
        _bad(f"can't parse entities: {error}")
    if units(text) > most:
        _bad("message is too long" if field == "text" else "message caption is too long")
    for one in call.document("entities" if field == "text" else "caption_entities", []):
        if not 0 <= one["offset"] < one["offset"] + one["length"] <= units(text):
            _bad("ENTITY_BOUNDS_INVALID")
    return text


def _buttons(markup: Mapping[str, Any]) -> tuple[tuple[tuple[str, str], ...], ...]:
    """Return the rows of an inline keyboard."""
    if set(markup) - {"inline_keyboard"}:
        raise NotPlayedError(f"keyboards with {sorted(markup)} are not played here")
    rows = []
    for row in markup.get("inline_keyboard", []):
        for button in row:
            if not button.get("text"):
                _bad('can\'t parse inline keyboard button: field "text" must be non-empty')
            if not 1 <= len(button.get("callback_data", "").encode()) <= MOST_BUTTON_BYTES:
                _bad("BUTTON_DATA_INVALID")
        rows.append(tuple((button["text"], button["callback_data"]) for button in row))
    return tuple(rows)


def _check_photo(photo: bytes) -> None:
    if not photo:
        _bad("file must be non-empty")
    if len(photo) > MOST_PHOTO_BYTES:
        raise Refusal(413, "Request Entity Too Large")
    if photo.startswith(b"\x89PNG\r\n\x1a\n"):
        width, height = struct.unpack(">II", photo[16:24])
        if width + height > MOST_PHOTO_SIDES or max(width, height) > 20 * min(width, height):
            _bad("PHOTO_INVALID_DIMENSIONS")
    elif not photo.startswith(b"\xff\xd8\xff"):
        _bad("IMAGE_PROCESS_FAILED")
