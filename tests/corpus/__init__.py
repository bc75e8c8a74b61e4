"""How often the checks are right: real series with labels, defects planted into them, and the count."""
