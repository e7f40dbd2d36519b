"""What can be checked within a second or two: Python, packages, variables, disk, memory, models, sandbox."""
