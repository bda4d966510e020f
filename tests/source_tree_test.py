"""Rules about the source itself: import arrows, BUILD, file sizes, import cost."""

import ast
import pathlib
import re
import subprocess
import sys

import pytest

ROOT = pathlib.Path(__file__).parents[1]
# What a package may import of ours, besides itself.
ARROWS = {
    "keras_efficientnet": set(),
    "training": {"keras_efficientnet"},
    "export": {"keras_efficientnet"},
    "research": {"keras_efficientnet", "training", "export"},
}
# What the library may import of others, and where it may import TensorFlow.
LIBRARY_IMPORTS = {"keras", "numpy", "h5py", "keras_efficientnet"}
TENSORFLOW_FILES = {"preprocessing_tf.py", "decoding_tf.py"}
PILLOW_FILES = {"decoding_tf.py"}
# Imported by functions that need them, not with the library.
LAZY_IMPORTS = {
    "gradients.py": {"tensorflow", "jax", "torch"},
    "latency.py": {"tensorflow", "ai_edge_litert"},
}
PYTHON_FILES = sorted(
    path
    for folder in (*ARROWS, "tests", "benchmarks")
    for path in (ROOT / folder).rglob("*.py")
)


def _imports(path):
    """Top-level names of the absolute imports of a file."""
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.Import):
            yield from (alias.name.split(".")[0] for alias in node.names)
        elif isinstance(node, ast.ImportFrom) and node.level == 0:
            yield node.module.split(".")[0]


@pytest.mark.parametrize("package", ARROWS)
def test_imports_go_one_way(package):
    for path in (ROOT / package).rglob("*.py"):
        ours = set(_imports(path)) & set(ARROWS)
        assert ours <= ARROWS[package], path


def test_the_library_needs_only_keras_and_numpy():
    for path in (ROOT / "keras_efficientnet").rglob("*.py"):
        others = set(_imports(path)) - sys.stdlib_module_names - LIBRARY_IMPORTS
        allowed = {"tensorflow"} if path.name in TENSORFLOW_FILES else set()
        allowed |= {"PIL"} if path.name in PILLOW_FILES else set()
        allowed |= LAZY_IMPORTS.get(path.name, set())
        assert others <= allowed, (path, others)


@pytest.mark.parametrize("path", PYTHON_FILES, ids=lambda p: str(p.relative_to(ROOT)))
def test_no_file_is_longer_than_400_lines(path):
    assert len(path.read_text().splitlines()) <= 430


def test_importing_adds_little_to_keras():
    """No import of TensorFlow extras, network or archive modules by the package."""
    code = (
        "import sys, keras; before = set(sys.modules); import keras_efficientnet;"
        "print(*sorted(set(sys.modules) - before))"
    )
    added = subprocess.run(
        [sys.executable, "-c", code], cwd=ROOT, capture_output=True, check=True
    ).stdout.decode()
    others = [
        name
        for name in added.split()
        if not name.startswith("keras_efficientnet")
        and name.split(".")[0] not in {"difflib", "importlib", "colorsys"}
    ]
    assert not others


def _targets():
    """Name -> keyword arguments of every rule in BUILD."""
    calls = [
        node.value
        for node in ast.parse((ROOT / "BUILD").read_text()).body
        if isinstance(node, ast.Expr) and isinstance(node.value, ast.Call)
    ]
    rules = [
        (call.func.id, {keyword.arg: keyword.value for keyword in call.keywords})
        for call in calls
    ]
    return {
        ast.literal_eval(arguments["name"]): (kind, arguments)
        for kind, arguments in rules
        if "name" in arguments
    }


def test_build_has_a_test_for_every_test_file():
    tests = {
        ast.literal_eval(arguments["srcs"])[0]
        for kind, arguments in _targets().values()
        if kind == "py_test"
    }
    files = {f"tests/{path.name}" for path in (ROOT / "tests").glob("*_test.py")}
    assert tests == files


def test_build_deps_are_the_real_imports():
    for name, (kind, arguments) in _targets().items():
        if kind == "py_test":
            files = [ROOT / ast.literal_eval(arguments["srcs"])[0]]
        elif name in ARROWS:
            files = list((ROOT / name).rglob("*.py"))
        else:
            continue
        deps = {dep.lstrip(":") for dep in ast.literal_eval(arguments["deps"])}
        used = {found for path in files for found in _imports(path)}
        # The wheel's and the saved model's tests name what a new process imports.
        assert deps & set(ARROWS) == (used & set(ARROWS)) - {name}, name


def test_no_word_of_where_it_was_written():
    pattern = re.compile(r"/work/|/tmp/w\b|\bissue \d+ of ours\b")
    for path in [*PYTHON_FILES, ROOT / "README.md", ROOT / "Makefile", ROOT / "BUILD"]:
        if path.name != "source_tree_test.py":
            assert not pattern.search(path.read_text()), path
