"""The documented import path of an older tool, which is also a command."""

from ..compat.gap_files import validate_gaps

__all__ = ["validate_gaps"]

if __name__ == "__main__":
    from ..compat.gap_commands import main_validate

    raise SystemExit(main_validate())
