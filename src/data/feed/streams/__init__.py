"""Sockets of vendors: connections, sessions, and who receives what they send."""
