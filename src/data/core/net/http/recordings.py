"""Records vendors' responses in a folder as they arrive, and replays them from it.

Each exchange is a separate file, ``<folder>/<vendor>/<question>-<time>.json``::

    {"recording": 1, "vendor": "tiingo", "asked_at": "2024-06-12T15:00:30Z",
     "request": {"method": "GET", "path": "/tiingo/daily/aapl/prices",
                 "params": {"format": "json"}},
     "response": {"status": 200, "headers": {"content-type": "application/json"}, "text": "[]"}}

If a body is not UTF-8, ``base64`` replaces ``text``. Files never contain keys: a request keeps its
keys in a separate part, which is not written, and any key known to this process is masked in the
rest.
"""

from __future__ import annotations

import base64
import json
import logging
import re
import threading
import time
from collections.abc import Iterator, Mapping
from datetime import UTC, datetime
from email.utils import format_datetime
from hashlib import sha256
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

from ....errors import CapabilityError, ConfigError, ResponseFormatError, StorageError
from ...config.credentials import known_keys
from ...disk.atomic import write_atomically
from ...disk.files import Disk
from ...model.request.http import HttpRequest, HttpResponse
from ...model.time.instant import SECOND_MS, iso, parse_iso
from ...observability.masking import without_keys
from .redact import body_without_keys

FORMAT = 1
_SUFFIX = ".json"
# Cookies and tokens let others impersonate the recipient; their names vary.
_PRIVATE_NAME = re.compile(r"cookie|auth|token|secret|session|key|csrf", re.IGNORECASE)
_log = logging.getLogger(__name__)


class Recorder:
    """Writes vendors' responses into a folder. Thread-safe; processes may share the folder.

    If a response cannot be written, a warning is logged once, and no call is affected.

    Args:
        folder: Folder to write to; created when the first response is recorded.
    """

    def __init__(self, folder: Path) -> None:
        self._folder, self._disk = folder, Disk()
        self._has_failed = False

    def keep(self, vendor: str, request: HttpRequest, response: HttpResponse, now_ms: int) -> None:
        """Record a request and its response.

        Args:
            vendor: Canonical name of the vendor that was queried.
            request, response: Request and its response, in which the request's keys are masked.
            now_ms: Time of the request, in UTC milliseconds.
        """
        question, keys = _question(request), list(known_keys().values())
        headers = {k: v for k, v in response.headers.items() if not _PRIVATE_NAME.search(k)}
        entry = {
            "recording": FORMAT,
            "vendor": vendor,
            "asked_at": iso(now_ms),
            "request": question,
            "response": {
                "status": response.status,
                "headers": headers,
                **_body(body_without_keys(response.body, keys)),
            },
        }
        text = without_keys(json.dumps(entry, indent=1, ensure_ascii=False), keys)
        folder = self._folder / vendor
        name = f"{_digest(question)}-{time.time_ns():020d}"
        try:
            self._disk.make_folders(folder, durable=False)
            # Half a surrogate pair, which UTF-8 cannot represent, remains a JSON escape.
            data = text.encode("utf-8", "backslashreplace")
            write_atomically(self._disk, folder / f"{name}{_SUFFIX}", data, durable=False)
        except StorageError as exc:
            if not self._has_failed:
                self._has_failed = True
                _log.warning("vendors' answers are not being recorded (ONETAPE_RECORD): %s", exc)


class Recording:
    """A transport that answers requests from the recorded exchanges of one vendor. Thread-safe.

    A request that was recorded several times gets the recorded responses in chronological order,
    and from then on the last one every time. The scheme and host of a request are ignored, as is a
    mirror's prefix before the path.

    Args:
        folder: Folder with the vendor's recorded exchanges.
    """

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        # Guards the counts against threads that send the same request.
        self._lock = threading.Lock()
        self._given: dict[str, int] = {}

    def send(self, request: HttpRequest) -> HttpResponse:
        """Return the recorded response to a request, regardless of its status.

        Raises:
            CapabilityError: The request was not recorded.
            ResponseFormatError: The file is damaged, or its format has an unknown version.
        """
        question = _question(request)
        paths = sorted(self._folder.glob(f"{_digest(question)}-*{_SUFFIX}"))
        answers = [
            answer
            for path in paths
            if (answer := _answer(path, question["path"], request.url)) is not None
        ]
        if not answers:
            raise CapabilityError(
                f"the recording {self._folder} has no answer for {question['method']} "
                f"{question['path']} {json.dumps(question['params'])}",
                hint="set ONETAPE_RECORD=<folder> and query the vendor to record it",
            )
        # If the folder is recorded again, replaying starts again with the first answer.
        key = json.dumps([question, [path.name for path in paths]])
        with self._lock:
            index = self._given.get(key, 0)
            self._given[key] = index + 1
        return answers[min(index, len(answers) - 1)]


def recorded_vendors(folder: Path) -> dict[str, Path]:
    """Return the folders with recorded exchanges, by vendor.

    ``folder`` may contain a folder for each vendor, or may itself be the folder of one vendor.
    Paths are resolved; each vendor has the name under which it was recorded.

    Raises:
        ConfigError: The folder cannot be read.
    """
    try:
        if not folder.is_dir():
            return {}
        folders = [folder, *sorted(path for path in folder.iterdir() if path.is_dir())]
        return {path.name: path.resolve() for path in folders if any(_exchanges(path))}
    except OSError as exc:
        raise ConfigError(f"the recordings in {folder} cannot be read: {exc.strerror}") from exc


def recorded_files(folder: Path) -> list[Path]:
    """Return the files of recorded exchanges in one vendor's folder, sorted by name."""
    return sorted(_exchanges(folder))


def _exchanges(folder: Path) -> Iterator[Path]:
    return folder.glob(f"[!.]*{_SUFFIX}")


def _question(request: HttpRequest) -> dict[str, Any]:
    """Return the parts of a request that identify its recording, which never include a key."""
    body = {"body_sha256": sha256(request.body).hexdigest()} if request.body else {}
    params = {name: str(value) for name, value in sorted(request.params.items())}
    return {"method": request.method, "path": urlsplit(request.url).path, "params": params, **body}


def _digest(question: Mapping[str, Any]) -> str:
    """Return the digest for the file names of a request's recordings; the path is not included."""
    named = {name: value for name, value in question.items() if name != "path"}
    return sha256(json.dumps(named).encode()).hexdigest()[:24]


def _body(body: bytes) -> dict[str, str]:
    try:
        return {"text": body.decode()}
    except UnicodeDecodeError:
        return {"base64": base64.b64encode(body).decode()}


def _answer(path: Path, question_path: str, url: str) -> HttpResponse | None:
    """Read the response in a file; return None if the file is for another path.

    Raises:
        ResponseFormatError: The file is damaged, or its format has an unknown version.
    """
    try:
        entry = json.loads(path.read_text("utf-8"))
        version = entry["recording"]
        if version != FORMAT:
            raise _error(path, f"has version {version}, but this release reads only {FORMAT}")
        if _digest(entry["request"]) != path.name.partition("-")[0]:
            raise _error(path, "contains a different request than its name indicates")
        if not entry["request"]["path"].endswith(question_path):
            return None
        answer = entry["response"]
        text = answer.get("text")
        body = base64.b64decode(answer["base64"]) if text is None else text.encode()
        headers = {str(name): str(value) for name, value in answer["headers"].items()}
        # Added if the vendor did not send one, because the date as of which prices are adjusted
        # depends on it.
        requested_at = datetime.fromtimestamp(parse_iso(entry["asked_at"]) / SECOND_MS, UTC)
        headers.setdefault("date", format_datetime(requested_at, usegmt=True))
        status = answer["status"]
        if status not in range(100, 600):
            raise ValueError(f"invalid HTTP status {status!r:.20}")
        return HttpResponse(int(status), headers, body, url)
    except (
        OSError,
        ValueError,
        LookupError,
        TypeError,
        AttributeError,
        OverflowError,
        RecursionError,
    ) as exc:
        raise _error(path, f"is damaged ({type(exc).__name__})") from exc


def _error(path: Path, reason: str) -> ResponseFormatError:
    return ResponseFormatError(
        f"the recorded answer {path} {reason}", hint="delete it and record it again"
    )
