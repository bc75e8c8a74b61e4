"""The documented import path of bundles."""

from ..layer.bundle import Bundle, BundleChange, BundleState, FileProblem, bundle_names

__all__ = ["Bundle", "BundleChange", "BundleState", "FileProblem", "bundle_names"]
