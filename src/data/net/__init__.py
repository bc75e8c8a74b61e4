"""Everything that leaves this machine: transports, limits, retries."""
