"""Code that only older programs use; the import paths documented for them re-export it."""
