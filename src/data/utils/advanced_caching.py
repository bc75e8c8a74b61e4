"""Deliberately not supported; the error names the successor."""

from ..removed import refuse_module

refuse_module(__name__)
