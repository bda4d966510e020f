"""README: its output is real, its figures agree, and it works on PyPI."""

import re
import runpy

import pytest
import setuptools

from tests.support.paths import ROOT

README = (ROOT / "README.md").read_text()
RELATIVE = re.compile(r"\]\((?!https?:)[^)]*\)")


@pytest.fixture
def setup_py(monkeypatch):
    """Names that setup.py defines, and the arguments that it passes to setuptools."""
    arguments = {}
    monkeypatch.setattr(setuptools, "setup", lambda **given: arguments.update(given))
    monkeypatch.chdir(ROOT)
    return runpy.run_path("setup.py"), arguments


def test_python_blocks_print_the_output_below_them(monkeypatch, capsys):
    monkeypatch.chdir(ROOT)
    blocks = re.findall(
        r"^```python\n(.*?)^```\n\n```\n(.*?)^```", README, re.MULTILINE | re.DOTALL
    )
    assert len(blocks) == 2
    names = {}
    for code, output in blocks:
        exec(compile(code, "README.md", "exec"), names)
        assert capsys.readouterr().out == output


def test_quickstart_scores_agree_with_the_benchmarks():
    (score,) = re.findall(r"^test top-1 (\S+%), n=359", README, re.MULTILINE)
    (int8,) = re.findall(
        r"^model_int8.tflite .* (\S+%)  +\S+% \(", README, re.MULTILINE
    )
    benchmarks = (ROOT / "docs" / "benchmarks.md").read_text()
    assert f"| {float(score[:-1]):.1f}%, int8 {int8} |" in benchmarks


def test_description_for_pypi_has_no_relative_links(setup_py):
    _, arguments = setup_py
    description = arguments["long_description"]
    assert not RELATIVE.search(description)
    assert "[arXiv:1905.11946](https://arxiv.org/abs/1905.11946)" in description
    assert "fit_budget" in description


def test_description_for_pypi_points_links_at_the_release(setup_py):
    names, _ = setup_py
    text = (
        "[Models](docs/models.md), [paper](https://arxiv.org)\n\n![Curves](a/b.png)\n"
    )
    assert names["describe"](text, "https://example.org/a/b", "v1.2.3") == (
        "[Models](https://example.org/a/b/blob/v1.2.3/docs/models.md), "
        "[paper](https://arxiv.org)\n\n"
        "![Curves](https://example.org/a/b/raw/v1.2.3/a/b.png)\n"
    )


def test_description_without_a_repository_url_keeps_the_text_of_links(setup_py):
    names, _ = setup_py
    text = "![Curves](a/b.png)\n\nSee [Models](docs/models.md).\n"
    assert names["describe"](text, "", "v1.2.3") == "See Models.\n"
