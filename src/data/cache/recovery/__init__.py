"""Damage: detected, repaired, and quarantined."""
