"""From a query to bars: look up, plan, fetch what is missing, check, store, answer."""
