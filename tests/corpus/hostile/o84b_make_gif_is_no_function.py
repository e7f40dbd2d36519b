# 84b make_gif is a string
# verdict: error
# says: make_gif is not a function, it is of type str
"""The name is there, the function is not."""

make_gif = "out.gif"
