"""The documented path of the pipeline's step 2, a command too."""

from ..compat.pipeline_timeframes import TimeframeCalculator, main

__all__ = ["TimeframeCalculator", "main"]

if __name__ == "__main__":
    raise SystemExit(main())
