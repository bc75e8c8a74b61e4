"""What only older programs use; its documented paths are thin modules that import from here."""
