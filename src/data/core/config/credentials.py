"""Vendors' keys, which are read from the environment on each use and never shown.

A key may be set under any of its usual names. Because values are looked up on each use, a rotated
key takes effect with the next request.
"""

from __future__ import annotations

import os
from collections.abc import Iterable, Iterator, Mapping, Sequence

from ..registry import VENDORS, key_names, row_of
from .donotshare import private_setting, private_values, variable_behind

_KEYS = tuple(key for row in VENDORS.values() for key in row.keys)
# All names of each key. A key requested under one name is found under any of them.
_GROUP = {name: group for group in _KEYS if not isinstance(group, str) for name in group}
_ALL = tuple(name for vendor in VENDORS for name in key_names(vendor))
# Placeholders that documentation prints in place of a key.
_PLACEHOLDERS = frozenset(
    {
        "your_api_key",
        "your_secret_key",
        "your_key",
        "your-api-key",
        "your_api_key_here",
        "your_secret_key_here",
        "changeme",
        "replace_me",
        "todo",
        "xxx",
        "<your_api_key>",
        "...",
    }
)


# Keys that this process has used, and additional variables that rules name for keys. None of these
# is ever shown.
handed_out: dict[str, None] = {}
noted_variables: dict[str, None] = {}
_MOST_KEPT = 256
# The last result of `known_keys`, with the variables, keys and state for which it is valid.
_cached: tuple[object, KeyState | None, Mapping[str, str]] = (None, None, {})


def note_key(key: str) -> None:
    """Register a key that is in use, so that it is masked in all text, whatever its source.

    A key stays registered after it is replaced; if very many are registered, only the latest are
    kept.
    """
    if key not in handed_out:
        handed_out[key] = None
        for oldest in list(handed_out)[:-_MOST_KEPT]:
            handed_out.pop(oldest, None)


def note_variables(*names: str | None) -> None:
    """Register environment variables with user-chosen names that contain keys."""
    noted_variables.update(dict.fromkeys(name for name in names if name))


def known_keys() -> Mapping[str, str]:
    """Return all keys that must never be shown, as a mapping of names to keys.

    The result contains the keys currently set under the usual names and under names from the rules
    file, and all keys used so far. The keys are looked up again only if a key, a variable or the
    private file has changed.
    """
    global _cached
    inputs, state, keys = _cached
    if inputs != (tuple(noted_variables), tuple(handed_out)) or state is None or not state.holds():
        # The state is read before the keys, so that the next call notices a change in between.
        variables = tuple(noted_variables)
        state = KeyState(all_credentials().variables | set(variables))
        named = credentials_for([*_ALL, *variables])
        set_now = {name: named[name] for name in named}
        in_use, values = tuple(handed_out), set(set_now.values())
        others = [key for key in in_use if key not in values]
        keys = set_now | {f"key {index}": key for index, key in enumerate(others)}
        _cached = ((variables, in_use), state, keys)
    return keys


class Credentials(Mapping[str, str]):
    """A mapping of names to vendors' keys. A key is looked up on each access, and is absent if not set.

    A value that is a placeholder from documentation counts as not set. Neither ``repr`` nor
    ``str`` shows a key. Thread-safe.

    Args:
        variables: Maps each key name used in a vendor's module to the variables that can hold the
            key, in order of precedence.
        environ: Variables to read; None means the process's environment, then the user's optional
            private module.
        defaults: Maps names to values from the rules file, which apply if no variable is set.
    """

    def __init__(
        self,
        variables: Mapping[str, Sequence[str]],
        environ: Mapping[str, str] | None = None,
        defaults: Mapping[str, str] | None = None,
    ) -> None:
        self._variables = {name: tuple(spellings) for name, spellings in variables.items()}
        self._environ = environ
        self._defaults = dict(defaults or {})

    def __getitem__(self, name: str) -> str:
        key = self._value_of(name)
        if not key:
            raise KeyError(name)
        note_key(key)
        return key

    def __iter__(self) -> Iterator[str]:
        return (name for name in self._variables if self._value_of(name))

    def __len__(self) -> int:
        return sum(1 for _ in self)

    def __contains__(self, name: object) -> bool:
        return isinstance(name, str) and bool(self._value_of(name))

    def __repr__(self) -> str:
        states = (f"{n}={'set' if n in self else 'not set'}" for n in self._variables)
        return f"Credentials({', '.join(states)})"

    @property
    def variables(self) -> frozenset[str]:
        """Names of all variables that are read."""
        return frozenset(v for spellings in self._variables.values() for v in spellings)

    @property
    def missing(self) -> tuple[str, ...]:
        """Names whose key is currently not set."""
        return tuple(name for name in self._variables if name not in self)

    @property
    def placeholders(self) -> tuple[str, ...]:
        """Names for which a placeholder from documentation is set in place of a real key."""
        return tuple(name for name in self.missing if any(self._values(name)))

    def _value_of(self, name: str) -> str:
        """Return the key under ``name``, or an empty string."""
        usable = (value for value in self._values(name) if not is_placeholder(value))
        return next(usable, self._defaults.get(name, ""))

    def _values(self, name: str) -> Iterator[str]:
        """Yield the current values of the variables for ``name``; blank values are skipped."""
        return filter(None, map(self._value, self._variables.get(name, ())))

    def _value(self, variable: str) -> str:
        environ = os.environ if self._environ is None else self._environ
        value = environ.get(variable, "").strip()
        if not value and self._environ is None:
            value = private_setting(variable).strip()
        return value


class KeyState:
    """A snapshot of the values of environment variables, for detecting later changes.

    Immutable. A comparison does not decode anything, so it takes only a fraction of a microsecond.

    Args:
        variables: Names of the variables. If the user's private file reads one of these keys from
            another variable, that variable is added.
    """

    __slots__ = ("_environ", "_names", "_private", "_values")

    def __init__(self, variables: Iterable[str]) -> None:
        sorted_names = tuple(sorted(set(variables)))
        names = dict.fromkeys((*sorted_names, *filter(None, map(variable_behind, sorted_names))))
        self._private, self._environ = private_values(), os.environ
        encode = getattr(os.environ, "encodekey", str)
        self._names = tuple(map(encode, names))
        self._values = self._read()

    def holds(self) -> bool:
        """Return whether the variables still have the values in the snapshot."""
        is_same = self._environ is os.environ and self._private is private_values()
        return is_same and self._read() == self._values

    def _read(self) -> tuple[object, ...]:
        # ``os.environ.get`` encodes and decodes: 2 us per variable, and a route depends on ten.
        raw = getattr(self._environ, "_data", self._environ)
        return tuple(map(raw.get, self._names))


def spellings_of(names: Sequence[str]) -> tuple[str, ...]:
    """Return all variables that can hold the given keys, each named by its main variable."""
    return tuple(dict.fromkeys(s for name in names for s in _GROUP.get(name, (name,))))


def is_placeholder(value: str) -> bool:
    """Return whether a value is a placeholder for a key, as printed in documentation."""
    return value.strip().strip("\"'").lower() in _PLACEHOLDERS


def credentials_for(
    secrets: Sequence[str | Sequence[str]], environ: Mapping[str, str] | None = None
) -> Credentials:
    """Return a mapping of the keys declared by a vendor's module, found under any spelling of their names.

    Args:
        secrets: Names of the keys; a nested sequence lists spellings of one key.
        environ: Variables to read; None means the process's environment, then the user's optional
            private module.
    """
    variables: dict[str, tuple[str, ...]] = {}
    for entry in secrets:
        spellings = (entry,) if isinstance(entry, str) else tuple(entry)
        group = [name for spelling in spellings for name in _GROUP.get(spelling, (spelling,))]
        for name in (*spellings, *group):
            variables[name] = tuple(dict.fromkeys((name, *spellings, *group)))
    return Credentials(variables, environ)


def vendor_credentials(
    vendor: str,
    key_env: str | None = None,
    secret_env: str | None = None,
    environ: Mapping[str, str] | None = None,
    *,
    names: Sequence[str | Sequence[str]] = (),
    defaults: Mapping[str, str] | None = None,
) -> Credentials:
    """Return a mapping of one vendor's keys.

    ``key_env`` and ``secret_env`` are the variables that the rules file names; if given, only these
    are read. ``names`` are the names of the keys if the vendor comes from another package; a nested
    sequence lists spellings of one key. ``defaults`` are values from the rules file.
    """
    own_names = (key_env, secret_env)
    note_variables(*own_names)
    keys: Sequence[str | Sequence[str]] = key_names(vendor) or names
    keys = keys or tuple(name for name in own_names if name)
    variables: dict[str, tuple[str, ...]] = {}
    for position, key in enumerate(keys):
        group = _GROUP.get(key, (key,)) if isinstance(key, str) else tuple(key)
        own_name = own_names[position] if position < len(own_names) else None
        for spelling in group:
            usual = tuple(dict.fromkeys((spelling, *group)))
            variables[spelling] = usual if own_name is None or own_name in group else (own_name,)
    return Credentials(variables, environ, defaults)


def lacks_key(vendor: str, credentials: Credentials) -> bool:
    """Return whether a vendor needs a key for every request and the key is not set.

    The vendor's class is not loaded.

    Args:
        vendor: Canonical name. For a vendor from another package, whose requirements are unknown,
            the result is False.
        credentials: Keys of the vendor, as returned by :func:`vendor_credentials`.
    """
    if not row_of(vendor).needs_keys:
        return False
    return any(name not in credentials for name in key_names(vendor))


def all_credentials(environ: Mapping[str, str] | None = None) -> Credentials:
    """Return a mapping of the keys of all vendors."""
    return credentials_for(_ALL, environ)
