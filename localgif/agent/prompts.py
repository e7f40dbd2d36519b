"""The fixed texts of the animator's conversation. Facts and orders only: no text here holds a program."""

from __future__ import annotations

SEED_PROMPT = (
    "You are a Python animator. Write one function make_gif(path) that draws the requested animation with Pillow and "
    "saves it as a GIF to path. Output only code."
)


def request(brief: str) -> str:
    """The user message of every sample."""
    return f"Write the function. Animation: {brief}"


def repair(reason: str, *, had_code: bool) -> str:
    """The user message after a failed run; the program itself stands in the assistant message before it."""
    if not had_code:
        return "The answer held no Python program. Write the whole function make_gif(path). Output only code."
    return f"The program failed:\n{reason}\nWrite the whole corrected function make_gif(path). Output only code."
