"""From the bytes of a GIF to numbers (measure.py), to a score (score.py), to text for the reflector (feedback.py).

This file imports nothing: the confined process that measures loads this package too.
"""

#: Modules whose `main` runs in the confined process. By name, because numpy, scipy and Pillow take longer to import
#: than many commands take altogether, and the app itself decodes nothing.
MEASURE, SHEET = "localgif.gif.measure", "localgif.gif.sheet"
