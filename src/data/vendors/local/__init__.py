"""The user's own files as a vendor, and the sample files of the ``demo`` extra."""
