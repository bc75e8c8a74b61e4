"""Values without behaviour beyond arithmetic: the types that all other packages pass around."""
