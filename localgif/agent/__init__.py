"""The animator: its prompts (prompts.py), the program in its reply (extract.py), and its attempts (graph.py)."""
