"""Every Python block of the README and the guides runs."""

import pathlib
import re

import pytest

ROOT = pathlib.Path(__file__).parents[1]
PAGES = [ROOT / "README.md", *sorted((ROOT / "docs").glob("*.md"))]


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_code_blocks_run(page, tmp_path, monkeypatch, capsys):
    blocks = re.findall(r"^```python\n(.*?)^```", page.read_text(), re.M | re.S)
    monkeypatch.chdir(tmp_path)
    (tmp_path / "examples").symlink_to(ROOT / "examples")
    names = {}
    for block in blocks:
        exec(compile(block, str(page), "exec"), names)


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_links_and_pictures_exist(page):
    for target in re.findall(r"\]\(([^)#:]+)\)", page.read_text()):
        assert (page.parent / target).exists(), target


def test_commands_of_the_readme_exist():
    modules = re.findall(r"python -m ([\w.]+)", (ROOT / "README.md").read_text())
    assert modules
    for module in modules:
        assert (ROOT / f"{module.replace('.', '/')}.py").is_file(), module


def test_the_model_table_is_what_is_computed():
    from keras_efficientnet import VARIANTS, plan_cost

    text = (ROOT / "docs" / "models.md").read_text()
    for key, variant in VARIANTS.items():
        cost = plan_cost(variant)
        row = next(line for line in text.splitlines() if line.startswith(f"| {key} |"))
        cells = [cell.strip() for cell in row.strip("|").split("|")]
        assert cells[1] == str(variant.resolution)
        assert cells[2] == f"{cost.trainable_params / 1e6:.1f} M"
        assert cells[3] == f"{cost.multiply_adds / 1e9:.2f} G"
        assert cells[5] == f"{cost.peak_activation_bytes / 2**20:.0f} MiB"
