"""The calls of yfinance, answered by the data manager: ``from onetape import yf``.

The package ``yfinance`` is not needed. What arguments mean and what frames look like is that
package's; bars, splits, figures and names come from :func:`~..data_manager.get_data_manager`.
"""
