"""README and guides: code blocks run, commands parse, and links resolve."""

import ast
import dataclasses
import importlib.util
import inspect
import pathlib
import re
import subprocess

import numpy as np
import pytest
from scipy import io

import keras_efficientnet
from keras_efficientnet import VARIANTS, plan_cost
from keras_efficientnet.preprocessing import imagenet_classes
from tests.support import commands
from tests.support.paths import ROOT
from tests.support.training_runs import photo_runs
from training import fine_tune

TOP = sorted(ROOT.glob("*.md"))
PAGES = [*TOP, *sorted((ROOT / "docs").rglob("*.md"))]
LINK = re.compile(r"\]\(([^)#:\s]*)(?:#([^)\s]+))?\)")


@pytest.fixture(params=PAGES, ids=lambda page: str(page.relative_to(ROOT)))
def page(request):
    return request.param


def _photos(monkeypatch):
    """Makes a folder of photos and a configuration that trains within seconds."""
    photo_runs.write_photos()
    monkeypatch.setattr(fine_tune, "_config", photo_runs.tiny_config)


def _development_kit(monkeypatch):
    """Makes a file like ImageNet's development kit, with reordered classes."""
    kinds = [("ILSVRC2012_ID", "i4"), ("WNID", "U9")]
    rows = [(1000 - i, wnid) for i, (wnid, _) in enumerate(imagenet_classes())]
    path = pathlib.Path("ILSVRC2012_devkit_t12/data/meta.mat")
    path.parent.mkdir(parents=True)
    io.savemat(path, {"synsets": np.array(rows, kinds)})


def _tiny_networks(monkeypatch):
    """The photos, and networks and crops of 32 pixels."""
    _photos(monkeypatch)
    name = "EfficientNetLite0"
    variant = dataclasses.replace(VARIANTS[name], resolution=32)
    monkeypatch.setitem(VARIANTS, name, variant)
    monkeypatch.setattr(keras_efficientnet, name, photo_runs.tiny_network)


# Page -> function that prepares the files that its code expects.
PREPARED = {
    "transfer.md": _photos,
    "evaluation.md": _development_kit,
    "fit.md": _tiny_networks,
}
# Pages whose code is run by tests/addons, in another environment, or readme_test.py.
ELSEWHERE = {"addons.md", "README.md"}
# Packages of environments of their own; without them, code that needs them is only
# compiled.
OPTIONAL = ("apache_beam", "tritonclient")
# Pages whose code trains or exports for more than ten seconds.
LONG = {"augmentation.md", "fit.md", "models.md", "serving.md", "transfer.md"}


def _blocks(page):
    """Lists the Python code of a page that this environment can run."""
    for block in re.findall(r"^```python\n(.*?)^```", page.read_text(), re.M | re.S):
        code = ast.parse(block, str(page))
        needed = [x for x in OPTIONAL if re.search(rf"^import {x}\b", block, re.M)]
        if page.name not in ELSEWHERE and all(map(importlib.util.find_spec, needed)):
            yield code


def test_code_blocks_use_names_that_exist(page):
    """Imports, attributes of modules, and keyword arguments of functions."""
    names = {}
    for code in _blocks(page):
        nodes = [*ast.walk(code)]
        imports = [n for n in nodes if isinstance(n, ast.Import | ast.ImportFrom)]
        exec(compile(ast.Module(imports, []), str(page), "exec"), names)
        for call in (node for node in nodes if isinstance(node, ast.Call)):
            function = _resolve(call.func, names)
            if function is not None:
                _check_keywords(function, call)


def _resolve(node, names):
    """Resolves an expression that begins with an imported name, else returns None."""
    if isinstance(node, ast.Name):
        return names.get(node.id)
    owner = _resolve(node.value, names) if isinstance(node, ast.Attribute) else None
    return getattr(owner, node.attr) if inspect.ismodule(owner) else None


def _check_keywords(function, call):
    try:
        parameters = inspect.signature(function).parameters
    except (TypeError, ValueError):  # written in C
        return
    if not any(p.kind is p.VAR_KEYWORD for p in parameters.values()):
        used = {keyword.arg for keyword in call.keywords} - {None}
        assert used <= parameters.keys(), (function, used - parameters.keys())


# Keras warns about its own default whenever `fit` gets a tf.data.Dataset.
@pytest.mark.filterwarnings("ignore:`shuffle=True` was passed")
@pytest.mark.parametrize(
    "page",
    [
        pytest.param(path, marks=pytest.mark.slow if path.name in LONG else ())
        for path in PAGES
    ],
    ids=lambda path: str(path.relative_to(ROOT)),
)
def test_code_blocks_run(page, tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "examples").symlink_to(ROOT / "examples")
    PREPARED.get(page.name, lambda _: None)(monkeypatch)
    names = {}
    for code in _blocks(page):
        exec(compile(code, str(page), "exec"), names)


def test_python_code_is_marked_as_python(page):
    for language, block in re.findall(
        r"^```(\w*)\n(.*?)^```", page.read_text(), re.M | re.S
    ):
        if re.search(r"^(import|from) ", block, re.M):
            assert language == "python", block


def test_commands_parse(page):
    for module, arguments in commands.our_commands(page.read_text()):
        commands.check(module, arguments)


def test_modules_exist(page):
    """Includes modules named within sentences."""
    for module in re.findall(r"python -m\s+([a-z_]+\.[\w.]*\w)", page.read_text()):
        if (ROOT / module.split(".")[0]).is_dir():
            assert commands.source_file(module), module


def test_make_targets_exist(page):
    makefile = (ROOT / "Makefile").read_text()
    targets = set(re.findall(r"^([a-z-]+):", makefile, re.M))
    lines = commands.shell_lines(page.read_text())
    used = {line.split()[1] for line in lines if line.startswith("make ")}
    used |= set(re.findall(r"`make ([a-z-]+)", page.read_text()))
    assert used <= targets


def test_contributing_lists_what_ci_runs():
    ran = set(re.findall(r"^ *make ([a-z-]+)", (ROOT / ".ci/run").read_text(), re.M))
    guide = (ROOT / "CONTRIBUTING.md").read_text()
    assert ran
    for target in ran:
        assert re.search(rf"^make {target}\b(?!-)", guide, re.M), target


def test_make_help_lists_the_targets_and_nothing_else():
    command = ["make", "--no-print-directory", "help"]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True)
    makefile = (ROOT / "Makefile").read_text()
    phony = re.search(r"^\.PHONY: (.*)", makefile, re.M)[1].split()
    listed = re.findall(r"^make ([a-z-]+) +\S.*\n", done.stdout, re.M)
    assert sorted(listed) == sorted(set(phony) - {"help"})
    assert done.stdout.count("\n") == len(listed)


def test_extras_exist(page):
    source = ast.parse((ROOT / "setup.py").read_text())
    (extras,) = [
        node.value
        for node in source.body
        if isinstance(node, ast.Assign) and node.targets[0].id == "EXTRAS"
    ]
    known = {key.value for key in extras.keys}
    for used in re.findall(r"efficientnet-keras\[([\w,]+)\]", page.read_text()):
        assert set(used.split(",")) <= known, used


def test_links_and_pictures_exist(page):
    text = re.sub(r"^```.*?^```", "", page.read_text(), flags=re.M | re.S)
    for target, anchor in LINK.findall(text):
        path = page.parent / target if target else page
        assert path.exists(), target
        if anchor:
            titles = re.findall(r"^#+ (.*)", path.read_text(), re.M)
            assert anchor in {_anchor(title) for title in titles}, (target, anchor)


def _anchor(title):
    """Returns the anchor that code hosts and MkDocs derive from a plain title."""
    return re.sub(r"[^\w -]", "", title.lower()).replace(" ", "-")


def test_site_has_every_page():
    nav = (ROOT / "mkdocs.yml").read_text().partition("\nnav:")[2]
    listed = re.findall(r": ([\w/-]+\.md)$", nav, re.M)
    assert len(listed) == len(set(listed))
    docs = {p.relative_to(ROOT / "docs").as_posix() for p in PAGES if p not in TOP}
    made = {path.name.lower() for path in TOP} - {"readme.md"} | {"index.md"}
    assert set(listed) == docs | made


def test_api_page_has_an_entry_for_every_public_name():
    text = (ROOT / "docs" / "api.md").read_text()
    entries = re.findall(r"^::: (\S+)$", text, re.M)
    public = {f"keras_efficientnet.{name}" for name in keras_efficientnet.__all__}
    assert not public - set(entries)
    assert len(entries) == len(set(entries))


def test_api_page_shows_the_docstrings_of_the_factories():
    """They are formatted on import, so the source alone does not have them."""
    griffe = pytest.importorskip("griffe")
    pytest.importorskip("mkdocs")
    extensions = griffe.load_extensions(f"{ROOT}/docs/hooks.py:Factories")
    package = griffe.load(
        "keras_efficientnet", search_paths=[ROOT], extensions=extensions
    )
    for name in VARIANTS:
        factory = package[name].final_target
        assert factory.is_function
        assert [p.name for p in factory.parameters][:2] == ["include_top", "weights"]
        documented = inspect.cleandoc(getattr(keras_efficientnet, name).__doc__)
        assert factory.docstring.value == documented


def test_model_table_equals_the_planned_cost():
    text = (ROOT / "docs" / "models.md").read_text()
    for key, variant in VARIANTS.items():
        cost = plan_cost(variant)
        row = next(line for line in text.splitlines() if line.startswith(f"| {key} |"))
        cells = [cell.strip() for cell in row.strip("|").split("|")]
        assert cells[1] == str(variant.resolution)
        assert cells[2] == f"{cost.trainable_params / 1e6:.1f} M"
        assert cells[3] == f"{cost.multiply_adds / 1e9:.2f} G"
        assert cells[5] == f"{cost.peak_activation_bytes / 2**20:.0f} MiB"
