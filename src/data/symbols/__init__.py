"""The meaning of symbols: classification, and whether two vendors mean the same by a name. Pure."""
