"""The front door: every name loads when it is used, is typed, and does what its docstring says."""

from __future__ import annotations

import inspect
from pathlib import Path

import pytest

import localgif
from localgif.sandbox.text import printable
from tests.cli.conftest import improving
from tests.support.kit import program


@pytest.mark.parametrize("name", localgif.__all__)
def test_each_name_is_documented_and_typed(name: str) -> None:
    found = getattr(localgif, name)
    assert name in dir(localgif)
    assert printable(found.__doc__ or "").strip()
    if inspect.isfunction(found):
        signature = inspect.signature(found, eval_str=True)
        given = [each.annotation for each in signature.parameters.values()]
        assert signature.empty not in [*given, signature.return_annotation]
        assert "Raises:" in str(found.__doc__)


def test_another_name_is_an_attribute_error() -> None:
    with pytest.raises(AttributeError, match="has no attribute 'paint'"):
        _ = localgif.paint


def test_a_run_from_python(tmp_path: Path) -> None:
    with improving(tmp_path):
        models = localgif.load_models(tmp_path / "models.toml")
        settings = localgif.make_settings(models, reflection="plain", metric_calls=2, samples=1, fresh=1)
        result = localgif.optimize(settings, tmp_path / "runs", "one")
        assert isinstance(settings, localgif.Settings) and isinstance(result, localgif.RunResult)
        again = localgif.resume(tmp_path / "runs" / "one", models)
        assert (again.best.mean, again.verdict.word) == (result.best.mean, result.verdict.word)


def test_a_program_and_its_gif_from_python() -> None:
    ran = localgif.run_program(program(24, 40))
    assert ran.gif is not None
    scored = localgif.score_gif(ran.gif, scorer="article")
    assert scored.score.total > 0.9 and scored.measurements is not None and scored.measurements.frames == 24
    assert localgif.score_gif(b"no GIF").measurements is None
