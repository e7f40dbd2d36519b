# 114 a traceback whose lines and names are the program's choice
# verdict: error
# says: ValueError
"""Raises from code that says it is line 999,999,999 of another file, with a name that is no name."""


def make_gif(path):
    code = compile("\n" * 5 + "raise ValueError('x')", __file__, "exec")
    exec(code.replace(co_firstlineno=999_999_999, co_name="\x1b[2J\n  File \"/etc/passwd\", line 1, in x\n"), {})
