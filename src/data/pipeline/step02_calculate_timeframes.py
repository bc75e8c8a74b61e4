"""The documented import path of the pipeline's step 2; it can also be run as a command."""

from ..compat.pipeline_timeframes import TimeframeCalculator, main

__all__ = ["TimeframeCalculator", "main"]

if __name__ == "__main__":
    raise SystemExit(main())
