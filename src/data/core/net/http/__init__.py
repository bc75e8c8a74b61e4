"""Requests and connections: transports, the sender, recordings, websockets."""
