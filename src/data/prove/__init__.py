"""``onetape prove``: the promises in the README, tested on this machine."""
