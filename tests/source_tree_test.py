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
    "benchmarks": {"benchmarks", "export", "keras_efficientnet", "training"},
}
# What the library may import of others, and where it may import TensorFlow.
LIBRARY_IMPORTS = {"keras", "numpy", "h5py", "keras_efficientnet", "safetensors"}
TENSORFLOW_FILES = {"preprocessing_tf.py", "decoding_tf.py"}
PILLOW_FILES = {"decoding_tf.py"}
# Imported by functions that need them, not with the library.
LAZY_IMPORTS = {
    "addons.py": {"tensorflow_addons"},
    "gradients.py": {"tensorflow", "jax", "torch"},
    "latency.py": {"tensorflow", "ai_edge_litert"},
    "peers.py": {
        "efficientnet_pytorch",
        "timm",
        "torch",
        "torchvision",
        "transformers",
    },
}
PYTHON_FILES = sorted(
    path for folder in (*ARROWS, "tests") for path in (ROOT / folder).rglob("*.py")
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


def _build_file():
    """Name -> keyword arguments of every library in BUILD, and name -> value there."""
    libraries, values = {}, {}
    for node in ast.parse((ROOT / "BUILD").read_text()).body:
        if isinstance(node, ast.Assign):
            values[node.targets[0].id] = ast.literal_eval(node.value)
        elif isinstance(node.value, ast.Call) and node.value.func.id == "py_library":
            arguments = {item.arg: item.value for item in node.value.keywords}
            libraries[ast.literal_eval(arguments["name"])] = arguments
    return libraries, values


def _our_imports(paths):
    return {found for path in paths for found in _imports(path)} & set(ARROWS)


def _names(deps):
    return sorted(dep.removeprefix(":") for dep in deps)


def test_build_has_a_test_for_every_test_file():
    _, values = _build_file()
    fast, others = values["FAST_TESTS"], values["OTHER_TESTS"]
    assert not fast.keys() & others.keys()
    assert list(fast) == sorted(fast)
    assert list(others) == sorted(others)
    files = {path.stem for path in (ROOT / "tests").glob("*_test.py")}
    assert fast.keys() | others.keys() == files
    assert set(values["READ_THE_REPOSITORY"]) <= files


def test_build_deps_of_tests_are_the_real_imports():
    _, values = _build_file()
    for name, deps in {**values["FAST_TESTS"], **values["OTHER_TESTS"]}.items():
        assert _names(deps) == sorted(_our_imports([ROOT / f"tests/{name}.py"])), name


def test_build_deps_of_libraries_are_the_real_imports():
    libraries, _ = _build_file()
    assert libraries.keys() == ARROWS.keys() | {"testing"}
    for name in ARROWS:
        deps = ast.literal_eval(libraries[name]["deps"])
        used = _our_imports((ROOT / name).rglob("*.py")) - {name}
        assert _names(deps) == sorted(used), name


def test_build_lends_the_helpers_that_tests_import():
    """Only these files are there beside a test when Bazel runs it."""
    libraries, _ = _build_file()
    files = {path.stem: path for path in (ROOT / "tests").glob("*.py")}
    lent = {name for name in files if not name.endswith("_test")}
    lent |= {
        pathlib.Path(node.value).stem
        for node in ast.walk(libraries["testing"]["srcs"])
        if isinstance(node, ast.Constant) and node.value.endswith("_test.py")
    } - {"*_test"}
    for path in files.values():
        assert set(_imports(path)) & files.keys() <= lent, path
    deps = ast.literal_eval(libraries["testing"]["deps"])
    assert _names(deps) == sorted(_our_imports(files[name] for name in lent))


def test_no_word_of_where_it_was_written():
    pattern = re.compile(r"/work/|/tmp/w\b|\bissue \d+ of ours\b")
    for path in [*PYTHON_FILES, ROOT / "README.md", ROOT / "Makefile", ROOT / "BUILD"]:
        if path.name != "source_tree_test.py":
            assert not pattern.search(path.read_text()), path
