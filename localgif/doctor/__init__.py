"""`localgif doctor`: tries every precondition of a run, and reports the evidence and the remedies."""
