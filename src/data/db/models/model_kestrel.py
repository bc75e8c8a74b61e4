"""A removed module: importing it raises an error that names its successor."""

from ...removed import refuse_module

refuse_module(__name__)
