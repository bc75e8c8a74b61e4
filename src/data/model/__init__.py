"""Values without behaviour beyond arithmetic: what the rest of the library talks in."""
