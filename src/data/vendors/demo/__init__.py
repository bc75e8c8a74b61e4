"""The sample bars of the extra ``demo`` as a vendor: real shares of the past, without a network."""
