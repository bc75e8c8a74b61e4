"""One request on its way through one lane: what is asked, what was tried, what is stored meanwhile."""
