"""Tasks: what a GIF must show (task.py), and which tasks a run works on (suite.py). The shipped ones are TOML files."""
