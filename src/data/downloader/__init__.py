"""Vendors: what each can serve, how to ask it, and what its answers mean."""
