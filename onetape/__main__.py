"""``python -m onetape`` is the command ``onetape``."""

from __future__ import annotations

from src.data.removed import load_part


def main() -> int:
    """Run the command by the arguments of the process and return its exit code.

    Raises:
        MissingExtraError: This installation lacks the command.
    """
    code: int = load_part("cli").main()
    return code


if __name__ == "__main__":
    raise SystemExit(main())
