"""``python -m onetape`` is the command ``onetape``."""

from __future__ import annotations

from importlib import import_module


def main() -> int:
    """Run the command by the arguments of the process and return its exit code."""
    code: int = import_module("src.data.cli").main()
    return code


if __name__ == "__main__":
    raise SystemExit(main())
