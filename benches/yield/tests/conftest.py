"""The bench is a folder of plain modules, found as bench.py finds them."""

import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parent.parent))
