"""Whether this installation works, and the pages that it brings."""
