"""Validation of stored bars by the checks of ``prices.judgement``, repairs, gaps, days that vendors lack."""
