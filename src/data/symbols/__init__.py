"""What a symbol means: classification, and whether two vendors mean the same by one name. Pure."""
