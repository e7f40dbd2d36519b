"""The `localgif` command, also as `python -m localgif`: cleans the environment, then loads the commands."""

from __future__ import annotations

from localgif.offline import own_process


def main() -> None:
    """Run the command line. The environment comes first: libraries read theirs on import."""
    own_process()
    from localgif.cli.app import app

    app()


if __name__ == "__main__":
    main()
