"""requirements.lock has a wheel for every package on a Mac: what the index said is stored, and still fits the lock."""

from __future__ import annotations

import json
from typing import Any

import pytest
from packaging.tags import compatible_tags, cpython_tags
from packaging.utils import parse_wheel_filename

from scripts import mac_wheels

LOCK = mac_wheels.LOCK.read_text("utf-8")
ANSWER: dict[str, Any] = json.loads(mac_wheels.ANSWER.read_text("utf-8"))


@pytest.mark.parametrize("python", mac_wheels.PYTHONS)
def test_a_mac_gets_a_wheel_for_every_pin(python: str) -> None:
    """Otherwise: python -m scripts.mac_wheels."""
    pins, wheels = mac_wheels.pins_for_a_mac(LOCK, python), ANSWER["wheels"][python]
    assert {name: str(parse_wheel_filename(file)[1]) for name, file in wheels.items()} == pins
    assert len(pins) > 100 and "xllamacpp" in pins and "colorama" not in pins
    version = (3, int(python.split(".")[1]))
    tags = {
        *cpython_tags(version, platforms=mac_wheels.platforms()),
        *compatible_tags(version, f"cp{version[0]}{version[1]}", mac_wheels.platforms()),
    }
    unfit = [file for file in wheels.values() if not tags & parse_wheel_filename(file)[3]]
    assert unfit == []


def test_markers_are_judged_for_a_mac_and_not_for_this_machine() -> None:
    here = "here==1.0 ; sys_platform == 'linux' \\\n    --hash=sha256:aa\n"
    there = "there==2.0 ; sys_platform == 'darwin' \\\n    --hash=sha256:bb\n"
    assert mac_wheels.pins_for_a_mac(here + there, "3.12") == {"there": "2.0"}
    assert mac_wheels.pins_for_a_mac("old==1.0 ; python_full_version < '3.12' \\\n", "3.12") == {}
