"""Everything that sends requests to other machines: transports, limits, retries."""
