"""localgif: make a small local model draw the GIF that was asked for, offline.

Importing this package costs nothing: every heavy library is imported by the one module that uses it.
"""

__version__ = "0.1.0"
