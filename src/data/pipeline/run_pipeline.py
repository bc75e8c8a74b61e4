"""The documented path of the whole pipeline, also a command."""

from ..compat.pipeline import DataPipelineRunner, main

__all__ = ["DataPipelineRunner", "main"]

if __name__ == "__main__":
    raise SystemExit(main())
