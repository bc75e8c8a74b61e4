"""Deliberately not served; the error names the successor."""

from ..compat.removed import refuse_module

refuse_module(__name__)
