"""Deliberately not served; the error names the successor."""

from ..removed import refuse_module

refuse_module(__name__)
