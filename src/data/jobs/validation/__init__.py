"""Whether stored bars are right: validated, compared, confirmed, repaired, gaps explained."""
