"""From the bytes of a GIF to numbers (measure.py), to a score (score.py), to text for the reflector (feedback.py).

This file imports nothing: the confined process that measures loads this package too.
"""
