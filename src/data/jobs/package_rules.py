"""Writes the packaged rules in parsed form, which can be read faster; run by ``make docs``.

``python -m onetape.data.jobs.package_rules > src/data/config/packaged_rules.json``
"""

from __future__ import annotations

import sys

from ..config.rules_file import packaged_bytes, written_as_read


def main() -> None:
    """Print the packaged rules in parsed form, as JSON.

    Raises:
        RulesError: The packaged rules have errors.
    """
    sys.stdout.write(written_as_read(packaged_bytes()))


if __name__ == "__main__":
    main()
