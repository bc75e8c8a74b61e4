"""A vendor's answer: checked, sorted, and stored."""
