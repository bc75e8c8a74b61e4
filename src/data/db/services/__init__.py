"""The records as functions: each call is one unit of work in the database.

``telegram_service``, ``users_service`` and ``trading_service`` are modules of functions; each
contains a service instance with its own name.
"""
