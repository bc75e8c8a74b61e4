"""Features of many symbols: against pandas per symbol, bare libraries on the arrays, and kept blocks."""

from __future__ import annotations

import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import polars as pl
import talib

from onetape.data.clock import ManualClock
from onetape.data.data_manager import DataManager
from onetape.data.indicators.features import Request, features
from onetape.data.layer.stored import FrameStore
