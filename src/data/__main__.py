"""Lets ``python -m onetape.data`` run the command ``onetape``."""

from .cli import main

raise SystemExit(main())
