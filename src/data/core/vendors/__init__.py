"""Vendors: a folder for each one, the code that they share, and a registry with a row for each one."""
