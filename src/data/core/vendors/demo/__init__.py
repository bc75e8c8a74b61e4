"""The sample bars of the ``demo`` extra as a vendor: real stocks of the past, without a network."""
