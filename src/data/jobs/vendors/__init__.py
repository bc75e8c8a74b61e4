"""What each vendor offers, what this machine lacks for it, what its keys allow."""
