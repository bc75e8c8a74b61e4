"""Code used only by older programs; its documented paths are thin modules that import from here."""
