# 77 HTML named .gif
# verdict: output_bad
"""HTML under the name of a GIF."""


def make_gif(path):
    with open(path, "w") as file:
        file.write("<script>alert(1)</script>")
