"""A module of older programs; importing it raises an error that names the successor."""

from ..removed import refuse_module

refuse_module(__name__)
