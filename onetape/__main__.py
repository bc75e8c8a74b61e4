"""Runs the command ``onetape`` for ``python -m onetape``."""

from __future__ import annotations

from .data.core.parts import load_part


def main() -> int:
    """Run the command with this process's arguments, and return its exit code.

    Raises:
        MissingExtraError: The command is not part of this installation.
    """
    code: int = load_part("cli").main()
    return code


if __name__ == "__main__":
    raise SystemExit(main())
