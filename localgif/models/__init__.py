"""Weights without a hub: which files are known, where they may come from, and proof that they are the right bytes."""
