"""The documented import path of the whole pipeline; it can also be run as a command."""

from ..compat.pipeline import DataPipelineRunner, main

__all__ = ["DataPipelineRunner", "main"]

if __name__ == "__main__":
    raise SystemExit(main())
