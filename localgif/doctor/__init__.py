"""`localgif doctor`: every precondition of a run tried, with what was seen and what to do about it."""
