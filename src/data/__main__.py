"""Lets ``python -m src.data`` run the command ``onetape``."""

from .cli import main

raise SystemExit(main())
