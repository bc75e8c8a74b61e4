"""What a symbol means: classification, and what two vendors call by the same letters. Pure."""
