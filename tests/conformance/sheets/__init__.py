"""One sheet for each vendor: ``<vendor>.py`` with its ``SHEET``."""
