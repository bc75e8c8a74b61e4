"""A low-level websocket; this is the only module that imports websocket-client.

One thread reads; any thread may send or abort. The library's errors may contain the address
including the key. They are replaced here, outside the ``except`` block, so that no other error
refers to them.
"""

from __future__ import annotations

import contextlib
import logging
import os
import socket
import ssl
import threading
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any, Protocol

from ....errors import (
    ConfigError,
    DataError,
    MissingExtraError,
    ProviderTimeoutError,
    ResponseFormatError,
    UnavailableError,
    install_line,
)
from ...clock import SystemClock
from ...config.donotshare import is_set
from ...model.market.stream import StreamAddress
from ...model.request.http import HttpResponse
from ..limits.own_network import is_loopback
from .http import certificates
from .redact import where
from .status import error_of

if TYPE_CHECKING:
    import websocket

log = logging.getLogger("onetape.net")

MAX_MESSAGE = 4 * 1024 * 1024
_CONNECT_S = 10.0
# The system clock, even in tests with a fake time: it limits reads from a real socket.
_CLOCK = SystemClock()
_TEXT, _BINARY, _CLOSE = 1, 2, 8


class Wire(Protocol):
    """A connection that carries messages. Only one thread may receive; all other methods are thread-safe."""

    def send(self, text: str) -> None:
        """Send a message; raise :class:`~.errors.UnavailableError` if the connection is lost."""

    def receive(self, timeout: float) -> str | bytes | None:
        """Return the next message, ``""`` for a heartbeat, or None if none arrived in ``timeout`` seconds.

        Raises:
            UnavailableError: The connection is lost; the message gives the reason.
            ResponseFormatError: The other side violates the protocol.
        """

    def ping(self) -> None:
        """Send a ping, to which the reply arrives as a heartbeat."""

    def abort(self) -> None:
        """Close the connection immediately, even while another thread is receiving; may be called again."""


class Dialer:
    """Opens connections to one vendor. Only one thread may call it; any thread may abort.

    Server certificates are verified against the CA certificates used for HTTP requests (or those in
    ``WEBSOCKET_CLIENT_CA_BUNDLE``); redirects are not followed.

    Args:
        address: Function called for each connection; it returns a ``wss://`` address, or ``ws://``
            if the server is on this machine.
        timeout: Seconds allowed for opening a connection.
    """

    def __init__(self, address: Callable[[], StreamAddress], timeout: float = _CONNECT_S) -> None:
        self._address = address
        self._timeout = timeout
        self._opening: Any = None

    def __call__(self) -> Wire:
        """Open a connection.

        Raises:
            ConfigError: The address is neither ``wss://`` nor on this machine.
            MissingExtraError: The socket library is not installed.
            UnavailableError: The certificates named in the environment do not exist.
            DataError: The connection was refused, throttled (with ``retry_after``), or not
                answered in time.
        """
        address = self._address()
        url = address.url
        if not (url.startswith("wss://") or (url.startswith("ws://") and is_loopback(url))):
            raise ConfigError(
                f"{where(url)} does not use TLS",
                hint="ws_url must begin with wss://; ws:// is for this machine only",
            )
        package = library()
        connection = self._open_socket(package, url)
        if isinstance(connection, DataError):
            raise connection
        return _Socket(connection, package, address.shown)

    def abort(self) -> None:
        """Abandon the connection being opened."""
        opening = self._opening
        if opening is not None:
            with contextlib.suppress(OSError, AttributeError):
                # The library's own method does nothing before the handshake has ended.
                opening.sock.shutdown(socket.SHUT_RDWR)

    def _open_socket(self, package: Any, url: str) -> websocket.WebSocket | DataError:
        """Return the library's socket, or this library's error if it could not be opened.

        The socket library's own error is not kept after this function returns.
        """
        options = {"cert_reqs": ssl.CERT_REQUIRED, **_bundle(url)}
        connection = _capped_class(package)(enable_multithread=True, sslopt=options)
        connection.due = _CLOCK.monotonic() + self._timeout
        self._opening = connection
        # Each read in the handshake has its own time limit; a server that sends slowly requires one
        # for all of them.
        timer = threading.Timer(2 * self._timeout, self.abort)
        timer.daemon = True
        timer.start()
        try:
            connection.connect(url, timeout=self._timeout, redirect_limit=0, suppress_origin=True)
        except package.WebSocketBadStatusException as error:
            return _refusal_error(error.status_code, error.resp_headers or {}, url)
        except (package.WebSocketException, OSError, ValueError, AttributeError) as error:
            return _error_for(error, package, f"{where(url)} could not be reached")
        finally:
            timer.cancel()
            self._opening = None
        return connection  # type: ignore[no-any-return]


def library() -> Any:
    """Import and return the websocket library.

    Raises:
        MissingExtraError: The library is not installed.
    """
    try:
        import websocket
    except ModuleNotFoundError:
        raise MissingExtraError(
            "live streams need the websocket-client package",
            hint=install_line("live"),
        ) from None
    # Its own log records contain frames, keys included.
    logging.getLogger("websocket").setLevel(logging.CRITICAL)
    return websocket


def _bundle(url: str) -> dict[str, str]:
    """Return the options for using the same certificates as for HTTP requests."""
    # The library's own variable takes precedence; the library reads it by itself.
    path = None if is_set("WEBSOCKET_CLIENT_CA_BUNDLE", None) else certificates(url)
    if path is None:
        return {}
    return {"ca_cert_path" if Path(path).is_dir() else "ca_certs": path}


def _refusal_error(status: int, headers: Mapping[str, str], url: str) -> DataError:
    """Return the error for a handshake that the server refused."""
    lower = {str(name).lower(): str(value) for name, value in headers.items()}
    error = error_of(HttpResponse(status, lower, url=url.partition("?")[0]))
    return error or ResponseFormatError(f"{where(url)} did not accept a websocket (HTTP {status})")


def _error_for(error: Exception, library: Any, what: str) -> DataError:
    """Convert an error from the WebSocket library or the operating system to one of this library's errors.

    The message begins with ``what``, which describes the connection, and does not quote the error's
    own text.
    """
    if isinstance(error, library.WebSocketTimeoutException | TimeoutError):
        return ProviderTimeoutError(f"{what}: no answer in time")
    if isinstance(error, ssl.SSLCertVerificationError):
        return UnavailableError(f"{what}: its certificate could not be verified")
    protocol_errors = library.WebSocketProtocolException | library.WebSocketPayloadException
    if isinstance(error, protocol_errors | UnicodeDecodeError):
        return ResponseFormatError(f"{what}: it violates the protocol")
    return UnavailableError(f"{what}: {_cause(error, library)}")


def _cause(error: Exception, library: Any) -> str:
    """Return a fixed phrase for an error, or the operating system's text for its number."""
    if isinstance(error, library.WebSocketAddressException | socket.gaierror):
        return "its address was not found"
    if isinstance(error, library.WebSocketProxyException):
        return "the proxy refused it"
    if isinstance(error, library.WebSocketConnectionClosedException | AttributeError):
        return "it was closed without a reason"
    if isinstance(error, ssl.SSLError):  # its error numbers are not the system's
        return "TLS failed"
    if isinstance(error, OSError):
        return os.strerror(error.errno).lower() if error.errno else "the network failed"
    if isinstance(error, ValueError):
        return "its address cannot be read"
    return "its response is not a websocket handshake"


def _capped_class(library: Any) -> Any:
    """Return a subclass of the library's socket that limits message sizes and reading times.

    The library itself accepts messages of any size, and a server that sends one byte per second can
    keep it in a single read forever. A read that runs out of time can be resumed, because the data
    received so far is kept.
    """

    class Buffer(library._abnf.frame_buffer):  # type: ignore[misc]
        def recv_length(self) -> None:
            """Read the length of a message, and reject one that is too long."""
            super().recv_length()
            if self.length > MAX_MESSAGE:
                raise library.WebSocketPayloadException("a message is too long")

    class CappedSocket(library.WebSocket):  # type: ignore[misc]
        due = 0.0
        size = 0

        def __init__(self, **options: Any) -> None:
            super().__init__(**options)
            self.frame_buffer = Buffer(self._recv, False)

        def _recv(self, bufsize: int) -> bytes:
            if _CLOCK.monotonic() > self.due:
                raise library.WebSocketTimeoutException("the server is too slow")
            return super()._recv(bufsize)  # type: ignore[no-any-return]

        def recv_frame(self) -> Any:
            """Read a frame, and reject a message whose frames are too long together."""
            frame = super().recv_frame()
            if frame.opcode < _CLOSE:  # control frames may come between the parts of a message
                self.size = 0 if frame.fin else self.size + len(frame.data)
            if self.size > MAX_MESSAGE:
                raise library.WebSocketPayloadException("a message is too long")
            return frame

    return CappedSocket


class _Socket:
    """A connection that wraps the library's socket; see :class:`Wire`."""

    def __init__(self, raw: Any, library: Any, shown: str) -> None:
        self._raw = raw
        self._library = library
        self._shown = shown
        self._timeout = 0.0

    def send(self, text: str) -> None:
        self._do(lambda: self._raw.send(text))

    def ping(self) -> None:
        self._do(self._raw.ping)

    def receive(self, timeout: float) -> str | bytes | None:
        """Return the next message; see :meth:`Wire.receive`."""
        outcome = self._receive(timeout)
        if isinstance(outcome, DataError):
            raise outcome
        return outcome

    def abort(self) -> None:
        """Close the connection at once; see :meth:`Wire.abort`."""
        with contextlib.suppress(self._library.WebSocketException, OSError, AttributeError):
            self._raw.abort()
        with contextlib.suppress(self._library.WebSocketException, OSError, AttributeError):
            self._raw.shutdown()

    def _receive(self, timeout: float) -> str | bytes | DataError | None:
        try:
            if timeout != self._timeout:
                self._raw.settimeout(timeout)
                self._timeout = timeout
            self._raw.due = _CLOCK.monotonic() + timeout
            opcode, data = self._raw.recv_data(control_frame=True)
            if opcode == _TEXT:
                return data.decode("utf-8") if isinstance(data, bytes) else str(data)
            if opcode == _BINARY:
                return bytes(data)
            return self._close_error(data) if opcode == _CLOSE else ""
        except self._library.WebSocketTimeoutException:
            return None
        except (self._library.WebSocketException, OSError, ValueError, AttributeError) as error:
            return _error_for(error, self._library, f"the connection to {self._shown} was lost")

    def _close_error(self, data: bytes) -> DataError:
        """Return the error for a close frame, without the frame's text, which comes from the vendor."""
        code = int.from_bytes(data[:2], "big") if len(data) >= 2 else 1005
        return UnavailableError(f"{self._shown} closed the connection with code {code}")

    def _do(self, act: Any) -> None:
        error: DataError | None = None
        try:
            act()
        except (self._library.WebSocketException, OSError, ValueError, AttributeError) as raised:
            error = _error_for(raised, self._library, f"the connection to {self._shown} was lost")
        if error is not None:
            raise error
