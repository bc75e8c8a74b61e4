"""Vendors' WebSockets: connections, sessions, and the listeners for their messages."""
