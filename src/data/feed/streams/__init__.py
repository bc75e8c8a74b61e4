"""Vendors' sockets: connections, sessions, and the listeners to their messages."""
