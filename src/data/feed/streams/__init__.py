"""Sockets of vendors: connections, sessions, and the listeners of what they send."""
