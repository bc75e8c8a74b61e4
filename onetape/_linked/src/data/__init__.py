"""``onetape.data`` under its older name, where ``onetape link`` has put this folder on Python's path."""

from onetape._older_name import serve

serve()
