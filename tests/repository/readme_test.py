"""README: its output is real, and its figures agree with the guides."""

import re

from tests.support.paths import ROOT

README = (ROOT / "README.md").read_text()


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


def test_guides_name_tests_that_exist():
    for page in [*ROOT.glob("*.md"), *(ROOT / "docs").rglob("*.md")]:
        for path, name in re.findall(
            r"`(tests/[\w/]+\.py)(?:::(\w+))?", page.read_text()
        ):
            assert (ROOT / path).is_file(), (page.name, path)
            if name:
                assert f"def {name}" in (ROOT / path).read_text(), (page.name, name)
