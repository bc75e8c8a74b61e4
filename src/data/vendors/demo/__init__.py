"""The sample bars of the extra ``demo`` as a vendor: real stocks of the past, without a network."""
