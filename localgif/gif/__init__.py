"""From the bytes of a GIF to numbers (measure.py), to a score (score.py), to text for the reflector (feedback.py).

This file imports nothing: the confined process that measures loads this package too.
"""

#: Modules whose `main` runs in the confined process. By name: what they load (numpy, scipy, Pillow) takes longer to
#: import than many a command takes altogether, and the app itself decodes nothing.
MEASURE = "localgif.gif.measure"
SHEET = "localgif.gif.sheet"
