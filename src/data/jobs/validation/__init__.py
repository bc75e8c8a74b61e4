"""Whether stored bars are right: validated, compared, repaired, gaps explained."""
