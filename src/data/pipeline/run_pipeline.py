"""The documented path of both steps of the pipeline, a command too."""

from ..compat.pipeline import DataPipelineRunner, main

__all__ = ["DataPipelineRunner", "main"]

if __name__ == "__main__":
    raise SystemExit(main())
