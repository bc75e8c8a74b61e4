"""The documented path of an older tool; it lives in ``src.data.jobs.gap_files``."""

from ..jobs.gap_files import fill_gaps

__all__ = ["fill_gaps"]

if __name__ == "__main__":
    from ..cli.gaps import main_fill

    raise SystemExit(main_fill())
