"""Never gets to define anything."""

while True:
    pass
