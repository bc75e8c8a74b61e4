"""Receipts: what a run read, as digests that anybody with access to the vendors can check."""
