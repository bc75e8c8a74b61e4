"""The proofs: each is kept, and each can fail."""
