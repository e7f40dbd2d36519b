"""`python -m localgif`: the same as the `localgif` command."""

from localgif.cli.app import main

if __name__ == "__main__":
    main()
