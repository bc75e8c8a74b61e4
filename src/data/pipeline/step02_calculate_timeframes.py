"""The documented path of the pipeline's step 2, also a command."""

from ..compat.pipeline_timeframes import TimeframeCalculator, main

__all__ = ["TimeframeCalculator", "main"]

if __name__ == "__main__":
    raise SystemExit(main())
