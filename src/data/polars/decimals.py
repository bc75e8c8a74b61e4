"""The documented import path of the conversion between floats and Decimals."""

from ..layer.frames import DecimalFrame, decimal_frame, float_frame

__all__ = ["DecimalFrame", "decimal_frame", "float_frame"]
