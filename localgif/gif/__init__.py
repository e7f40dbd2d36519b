"""From the bytes of a GIF to numbers (measure.py), and to a score (score.py).

This file imports nothing: the confined process that measures loads this package too.
"""

#: Modules whose `main` runs in the confined process. Named, not imported: numpy, scipy and Pillow take longer to import
#: than many commands run, and the app itself decodes nothing.
MEASURE, SHEET = "localgif.gif.measure", "localgif.gif.sheet"
