"""``python -m src.data`` is the command ``onetape``."""

from .cli import main

raise SystemExit(main())
