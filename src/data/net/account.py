"""Whose limits count: a vendor and the account it is asked for, without any key."""

from __future__ import annotations

import hashlib
from dataclasses import dataclass, field

_NOBODY = "-"
_DIGEST_BYTES = 12


@dataclass(frozen=True)
class Account:
    """One vendor's customer: by its keys, or anybody at this address.

    Attributes:
        vendor: who is asked.
        secrets: the keys that say who asks; empty where it is asked without any.
    """

    vendor: str
    secrets: tuple[str, ...] = field(default=(), repr=False)

    def named(self, salt: bytes) -> str:
        """Return the name under which this account is remembered; no key can be had from it."""
        if not self.secrets:
            return f"{self.vendor}:{_NOBODY}"
        text = "\0".join(sorted(self.secrets)).encode("utf-8", "surrogatepass")
        return f"{self.vendor}:{hashlib.blake2b(text, key=salt, digest_size=_DIGEST_BYTES).hexdigest()}"
