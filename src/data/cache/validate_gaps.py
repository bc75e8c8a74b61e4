"""The documented path of an older tool; it lives in ``src.data.jobs.gap_files``."""

from ..jobs.gap_files import validate_gaps

__all__ = ["validate_gaps"]

if __name__ == "__main__":
    from ..cli.gaps import main_validate

    raise SystemExit(main_validate())
