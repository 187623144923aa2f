"""``python -m llmrl.cli`` is the same as ``llmrl``."""

import sys

from . import main

sys.exit(main())
