"""The documented import path of an older tool, which is also a command."""

from ..compat.gap_files import fill_gaps

__all__ = ["fill_gaps"]

if __name__ == "__main__":
    from ..compat.gap_commands import main_fill

    raise SystemExit(main_fill())
