"""The animator: what it is asked (prompts.py), the program in its reply (extract.py), and its attempts (graph.py)."""
