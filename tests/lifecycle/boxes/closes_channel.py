"""Run inside a box: becomes a program that has no channel, and stays."""

from __future__ import annotations

import os
import sys

os.execv(sys.executable, [sys.executable, "-I", "-S", "-c", "import time; time.sleep(1000)"])
