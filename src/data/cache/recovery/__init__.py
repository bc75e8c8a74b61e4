"""Damage: found, repaired, and kept in quarantine."""
