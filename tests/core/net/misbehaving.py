"""Servers that never finish a response, each in its own way, on a real socket.

Each is written by hand after RFC 9112 and keeps sending a valid beginning of a response.
"""

from __future__ import annotations

import contextlib
import gzip
import itertools
import socket
import ssl
import threading
import zlib
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from pathlib import Path

PAUSE_S = 0.02
_HEAD = b"HTTP/1.1 200 OK\r\nContent-Type: application/json\r\n"
_CHUNKED = _HEAD + b"Transfer-Encoding: chunked\r\n\r\n"

Piece = tuple[bytes, float]


def _at_once(data: bytes) -> Iterator[Piece]:
    yield data, 0.0


def _drip(data: Iterable[int]) -> Iterator[Piece]:
    for byte in data:
        yield bytes([byte]), PAUSE_S


def _flood(data: bytes) -> Iterator[Piece]:
    while True:
        yield data, 0.0


def _endless(text: bytes) -> Iterator[int]:
    return itertools.chain.from_iterable(itertools.repeat(text))


def _empty_blocks(window: int) -> tuple[bytes, bytes]:
    """Return the beginning of a compressed stream, and an empty block of it."""
    packer = zlib.compressobj(9, zlib.DEFLATED, window)
    return packer.compress(b"") + packer.flush(zlib.Z_FULL_FLUSH), b"\x00\x00\x00\xff\xff"


def _encoded(coding: bytes) -> bytes:
    return _HEAD + b"Content-Encoding: " + coding + b"\r\nConnection: close\r\n\r\n"


def _of_nothing(coding: bytes, window: int) -> Iterator[Piece]:
    start, block = _empty_blocks(window)
    return itertools.chain(_at_once(_encoded(coding) + start), _flood(block * 2000))


def _chain(*parts: Iterator[Piece]) -> Iterator[Piece]:
    return itertools.chain(*parts)


BEHAVIOURS: dict[str, Callable[[], Iterator[Piece]]] = {
    "silence": lambda: iter(()),
    "status line": lambda: _drip(itertools.chain(b"HTTP/1.1 200 ", _endless(b"O"))),
    "headers": lambda: _chain(_at_once(_HEAD), _drip(_endless(b"X-A: b\r\n"))),
    "one header": lambda: _chain(_at_once(_HEAD + b"X-A: "), _drip(_endless(b"b"))),
    "100 continue": lambda: _drip(_endless(b"HTTP/1.1 100 Continue\r\n\r\n")),
    "body": lambda: _chain(_at_once(_HEAD + b"Content-Length: 100000\r\n\r\n"), _drip(_endless(b" "))),
    "body until the end": lambda: _chain(
        _at_once(_HEAD + b"Connection: close\r\n\r\n"), _drip(_endless(b" "))
    ),
    "chunks": lambda: _chain(_at_once(_CHUNKED), _drip(_endless(b"1\r\n \r\n"))),
    "chunk size": lambda: _chain(_at_once(_CHUNKED), _drip(_endless(b"0"))),
    "chunk extension": lambda: _chain(_at_once(_CHUNKED + b"1;"), _drip(_endless(b"a=b;"))),
    "trailers": lambda: _chain(_at_once(_CHUNKED + b"2\r\n[]\r\n0\r\n"), _drip(_endless(b"A: b\r\n"))),
    "many trailers": lambda: _chain(_at_once(_CHUNKED + b"2\r\n[]\r\n0\r\n"), _flood(b"A: b\r\n")),
    "gzip of nothing": lambda: _of_nothing(b"gzip", 31),
    "gzip members of nothing": lambda: _chain(
        _at_once(_encoded(b"gzip")), _flood(gzip.compress(b"") * 1000)
    ),
    "deflate of nothing": lambda: _of_nothing(b"deflate", 15),
    "gzip, dripping": lambda: _chain(
        _at_once(_encoded(b"gzip")), _drip(_endless(gzip.compress(b"")))
    ),
    "redirects, dripping": lambda: _chain(
        _at_once(b"HTTP/1.1 302 Found\r\nContent-Length: 100000\r\nLocation: /again\r\n\r\n"),
        _drip(_endless(b" ")),
    ),
}  # fmt: skip


@contextmanager
def endless(behaviour: str, tls: ssl.SSLContext | None = None) -> Iterator[int]:
    """Run a server for the time of the block; yield its port.

    Args:
        behaviour: of :data:`BEHAVIOURS`, or ``handshake``: dripping one over TLS.
        tls: how it speaks TLS, if it does.
    """
    over, open_ones = threading.Event(), list[socket.socket]()

    def serve(raw: socket.socket) -> None:
        with contextlib.suppress(OSError):
            connection = tls.wrap_socket(raw, server_side=True) if tls else raw
            open_ones.append(connection)
            connection.recv(65536)
            for data, pause_s in BEHAVIOURS[behaviour]():
                connection.sendall(data)
                if over.wait(pause_s) if pause_s else over.is_set():
                    break
            over.wait()

    def accept() -> None:
        with contextlib.suppress(OSError):
            while True:
                raw, _ = door.accept()
                open_ones.append(raw)
                threading.Thread(target=serve, args=(raw,), daemon=True).start()

    with socket.create_server(("127.0.0.1", 0), backlog=50) as door:
        accepting = threading.Thread(target=accept, daemon=True)
        accepting.start()
        try:
            yield door.getsockname()[1]
        finally:
            over.set()
            with contextlib.suppress(OSError):
                door.shutdown(socket.SHUT_RDWR)
            for connection in open_ones:
                with contextlib.suppress(OSError):
                    connection.shutdown(socket.SHUT_RDWR)
            accepting.join(1)
            for connection in open_ones:
                connection.close()


def certificate(folder: Path) -> tuple[Path, Path]:
    """Write a certificate of this machine, and its key; return where they lie."""
    from datetime import UTC, datetime, timedelta
    from ipaddress import ip_address

    from cryptography import x509
    from cryptography.hazmat.primitives import hashes, serialization
    from cryptography.hazmat.primitives.asymmetric import ec

    key = ec.generate_private_key(ec.SECP256R1())
    name = x509.Name([x509.NameAttribute(x509.NameOID.COMMON_NAME, "127.0.0.1")])
    now = datetime.now(UTC)
    made = (
        x509.CertificateBuilder()
        .subject_name(name)
        .issuer_name(name)
        .public_key(key.public_key())
        .serial_number(1)
        .not_valid_before(now - timedelta(days=1))
        .not_valid_after(now + timedelta(days=1))
        .add_extension(
            x509.SubjectAlternativeName([x509.IPAddress(ip_address("127.0.0.1"))]), False
        )
        .add_extension(x509.BasicConstraints(ca=True, path_length=None), True)
        .sign(key, hashes.SHA256())
    )
    public, private = folder / "public.pem", folder / "private.pem"
    public.write_bytes(made.public_bytes(serialization.Encoding.PEM))
    private.write_bytes(
        key.private_bytes(
            serialization.Encoding.PEM,
            serialization.PrivateFormat.PKCS8,
            serialization.NoEncryption(),
        )
    )
    return public, private
