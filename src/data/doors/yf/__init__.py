"""The calls of yfinance, answered by the data manager: ``from onetape import yf``.

The package ``yfinance`` is not needed. Arguments and frames have the same meaning and form as in
that package; bars, splits, figures and names come from :func:`~.data_manager.get_data_manager`.
"""
