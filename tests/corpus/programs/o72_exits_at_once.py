"""Claims success by exit status."""

import os

os._exit(0)
