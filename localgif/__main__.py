"""The `localgif` command, also as `python -m localgif`: a process of our own, before any library is loaded."""

from __future__ import annotations

from localgif.offline import own_process


def main() -> None:
    """Entry point of the command."""
    own_process()
    from localgif.cli.app import app

    app()


if __name__ == "__main__":
    main()
