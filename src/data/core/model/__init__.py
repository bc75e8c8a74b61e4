"""Plain value types, with no behavior beyond arithmetic, that all other packages pass around."""
