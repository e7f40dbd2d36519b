"""The name is there, the function is not."""

make_gif = "out.gif"
