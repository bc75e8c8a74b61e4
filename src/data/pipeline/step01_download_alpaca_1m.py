"""The documented import path of the pipeline's step 1; it can also be run as a command."""

from ..compat.pipeline_minutes import AlpacaPipelineDownloader, main

__all__ = ["AlpacaPipelineDownloader", "main"]

if __name__ == "__main__":
    raise SystemExit(main())
