"""The optional settings files of research, and where bundles lie."""
