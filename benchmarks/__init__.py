"""The measurements behind the claims about speed: ``make bench``."""
