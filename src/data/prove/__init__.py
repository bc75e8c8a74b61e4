"""``onetape prove``: the promises of the README, kept or broken on this machine."""
