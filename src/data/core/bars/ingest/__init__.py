"""A vendor's answer: checked, classified, and stored."""
