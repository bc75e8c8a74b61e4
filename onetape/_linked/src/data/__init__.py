"""``onetape.data`` under its older name, if ``onetape setup link`` has added this folder to the path."""

from onetape._older_name import serve

serve()
