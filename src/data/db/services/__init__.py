"""Functions that read and change the database's records: each call is one unit of work.

``telegram_service``, ``users_service`` and ``trading_service`` are modules of functions. Each of
them also has an attribute of the same name, a service object.
"""
