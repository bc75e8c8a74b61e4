"""From a question to bars: plan, fetch what is missing, check, store, answer."""
