"""The records by their functions: each call is one unit of work of the database.

``telegram_service``, ``users_service`` and ``trading_service`` are modules of functions, and each holds an
instance of its own name.
"""
