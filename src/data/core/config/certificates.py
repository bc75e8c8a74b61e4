"""Finds the CA certificates that the environment names, for requests and live streams alike."""

from __future__ import annotations

import os
from collections.abc import Mapping
from typing import Final, NamedTuple

VARIABLES: Final = ("REQUESTS_CA_BUNDLE", "CURL_CA_BUNDLE", "SSL_CERT_FILE")


class CertificateBundle(NamedTuple):
    """The path of a file or folder with CA certificates, and the environment variable that names it."""

    path: str
    variable: str


def certificate_bundle(environ: Mapping[str, str] | None = None) -> CertificateBundle | None:
    """Return the CA certificates from the first variable in :data:`VARIABLES` that is set, or None.

    Args:
        environ: Variables to read; None means the current environment of the process.
    """
    variables = os.environ if environ is None else environ
    paths = ((variables.get(name, "").strip(), name) for name in VARIABLES)
    return next((CertificateBundle(path, name) for path, name in paths if path), None)
