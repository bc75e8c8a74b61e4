"""A certificate authority for the tests, and a TLS server whose certificate has at most one fault."""

from __future__ import annotations

import base64
import contextlib
import datetime as dt
import hashlib
import ipaddress
import ssl
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler
from pathlib import Path
from typing import Any

from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import NameOID

from tests.core.net.scripted import Recorder, serving
from tests.vendor_server.streams import MAGIC as WEBSOCKET_MAGIC

FAULTS = ["self-signed", "another-host", "expired"]
_DAY = dt.timedelta(days=1)


@dataclass
class Authority:
    """Signs certificates for 127.0.0.1. ``bundle`` is what a client has to trust for them."""

    folder: Path
    key: ec.EllipticCurvePrivateKey = field(
        default_factory=lambda: ec.generate_private_key(ec.SECP256R1())
    )

    def __post_init__(self) -> None:
        certificate = self._certificate("onetape tests", self.key, self.key, authority=True)
        self.bundle = self.folder / "authority.pem"
        self.bundle.write_bytes(certificate.public_bytes(serialization.Encoding.PEM))

    def context(self, fault: str = "") -> ssl.SSLContext:
        """Return a server's side with a certificate that is sound but for ``fault``."""
        key = ec.generate_private_key(ec.SECP256R1())
        certificate = self._certificate(
            "onetape tests" if fault != "self-signed" else "127.0.0.1",
            key,
            key if fault == "self-signed" else self.key,
            host="vendor.example" if fault == "another-host" else "127.0.0.1",
            end=-_DAY if fault == "expired" else _DAY,
        )
        path = self.folder / f"{fault or 'sound'}.pem"
        path.write_bytes(
            certificate.public_bytes(serialization.Encoding.PEM)
            + key.private_bytes(
                serialization.Encoding.PEM,
                serialization.PrivateFormat.PKCS8,
                serialization.NoEncryption(),
            )
        )
        made = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        made.load_cert_chain(path)
        return made

    def _certificate(
        self,
        issuer: str,
        key: ec.EllipticCurvePrivateKey,
        signer: ec.EllipticCurvePrivateKey,
        host: str = "",
        end: dt.timedelta = _DAY,
        authority: bool = False,
    ) -> x509.Certificate:
        now = dt.datetime.now(dt.UTC)
        builder = (
            x509.CertificateBuilder()
            .subject_name(_name(host or issuer))
            .issuer_name(_name(issuer))
            .public_key(key.public_key())
            .serial_number(x509.random_serial_number())
            .not_valid_before(now - 9 * _DAY)
            .not_valid_after(now + end)
            .add_extension(x509.BasicConstraints(ca=authority, path_length=None), critical=True)
            .add_extension(
                x509.SubjectKeyIdentifier.from_public_key(key.public_key()), critical=False
            )
            .add_extension(
                x509.AuthorityKeyIdentifier.from_issuer_public_key(signer.public_key()),
                critical=False,
            )
            .add_extension(_usage(authority=authority), critical=True)
        )
        if host:
            builder = builder.add_extension(
                x509.SubjectAlternativeName([_alternative(host)]), critical=False
            )
        return builder.sign(signer, hashes.SHA256())


def _name(text: str) -> x509.Name:
    return x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, text)])


def _usage(*, authority: bool) -> x509.KeyUsage:
    """Return the permitted uses of the key, which Python 3.13 checks."""
    return x509.KeyUsage(
        digital_signature=not authority, key_cert_sign=authority, crl_sign=authority,
        content_commitment=False, key_encipherment=False, data_encipherment=False,
        key_agreement=False, encipher_only=False, decipher_only=False,
    )  # fmt: skip


def _alternative(host: str) -> x509.GeneralName:
    try:
        return x509.IPAddress(ipaddress.ip_address(host))
    except ValueError:
        return x509.DNSName(host)


@contextlib.contextmanager
def serving_tls(
    context: ssl.SSLContext, handle: Callable[[BaseHTTPRequestHandler], None]
) -> Iterator[Recorder]:
    """Run a server over TLS for the time of the block; it also opens websockets.

    Its ``requests`` hold what came through: nothing of a client that refused the certificate.
    """

    def answer(handler: BaseHTTPRequestHandler) -> None:
        if nonce := handler.headers.get("Sec-WebSocket-Key"):
            digest = hashlib.sha1(f"{nonce}{WEBSOCKET_MAGIC}".encode()).digest()
            handler.send_response(101)
            for name, value in {
                "Upgrade": "websocket",
                "Connection": "Upgrade",
                "Sec-WebSocket-Accept": base64.b64encode(digest).decode(),
            }.items():
                handler.send_header(name, value)
            handler.end_headers()
            handler.close_connection = True
        else:
            handle(handler)

    with serving(answer) as server:
        # The handshake is the handler thread's: one that is refused must not hold up the rest.
        server.socket = context.wrap_socket(
            server.socket, server_side=True, do_handshake_on_connect=False
        )
        server.handle_error = _refused  # type: ignore[method-assign]
        yield server


def _refused(*_: Any) -> None:
    """A handshake that a client broke off is what is looked for."""
