"""From a question to bars: look up, plan, fetch what is missing, check, store, answer."""
