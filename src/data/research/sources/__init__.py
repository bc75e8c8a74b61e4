"""Where bars for a strategy come from: vendors, files, a program's own classes."""
