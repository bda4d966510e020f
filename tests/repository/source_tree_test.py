"""Rules about the source itself: import arrows, BUILD, file sizes, import cost."""

import ast
import re
import subprocess
import sys

import pytest

from tests.support.paths import ROOT

# What a package may import of ours, besides itself.
ARROWS = {
    "keras_efficientnet": set(),
    "training": {"keras_efficientnet"},
    "export": {"keras_efficientnet"},
    "research": {"keras_efficientnet", "training", "export"},
    "benchmarks": {"benchmarks", "export", "keras_efficientnet", "training"},
}
# What the library may import of others, and where it may import TensorFlow.
LIBRARY_IMPORTS = {
    "filelock",
    "h5py",
    "keras",
    "keras_efficientnet",
    "numpy",
    "safetensors",
}
TENSORFLOW_FILES = {"tf_ops.py", "tf_decoding.py", "tf_files.py"}
PILLOW_FILES = {"file_limits.py", "image_folders.py", "tf_decoding.py"}
# Imported by functions that need them, not with the library.
LAZY_IMPORTS = {
    "addons.py": {"tensorflow_addons"},
    "gradients.py": {"tensorflow", "jax", "torch"},
    "tflite_latency.py": {"tensorflow", "ai_edge_litert"},
    "reference_logits.py": {
        "efficientnet_pytorch",
        "timm",
        "torch",
        "torchvision",
        "transformers",
    },
}
# Concept: (module that owns it, what must not stand elsewhere).
_COMMON = "keras_efficientnet/common"
OWNERS = {
    "cache folder": (f"{_COMMON}/files.py", r"environ.*KERAS_HOME"),
    "atomic write": (f"{_COMMON}/files.py", r"os\.(replace|rename)\b|mkstemp"),
    "lock": (f"{_COMMON}/files.py", r"\b(fcntl|msvcrt|filelock)\b"),
    "CSV file": (f"{_COMMON}/files.py", r"csv\.(writer|DictWriter)"),
    "Markdown table": (f"{_COMMON}/markdown.py", r"\| ?-{3}|[\"'] \| [\"']\.join"),
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


def test_the_library_needs_few_others():
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


@pytest.mark.parametrize("concept", OWNERS)
def test_each_concept_has_one_owner(concept):
    owner, pattern = OWNERS[concept]
    programs = ARROWS.keys() - {"benchmarks"}
    sources = [path for folder in programs for path in (ROOT / folder).rglob("*.py")]
    found = {p.relative_to(ROOT) for p in sources if re.search(pattern, p.read_text())}
    assert {str(path) for path in found} == {owner}


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


def test_fast_tests_of_build_exist():
    _, values = _build_file()
    assert values["FAST_TESTS"] == sorted(values["FAST_TESTS"])
    for name in values["FAST_TESTS"]:
        assert (ROOT / f"{name}.py").is_file()


def test_build_deps_of_libraries_are_the_real_imports():
    libraries, _ = _build_file()
    assert libraries.keys() == ARROWS.keys() | {"testing"}
    for name in ARROWS:
        deps = ast.literal_eval(libraries[name]["deps"])
        files = (ROOT / name).rglob("*.py")
        used = {found for path in files for found in _imports(path)} & set(ARROWS)
        assert deps == sorted(f":{other}" for other in used - {name}), name


def test_no_word_of_where_it_was_written():
    pattern = re.compile(r"/work/|/tmp/w\b|\bissue \d+ of ours\b")
    for path in [*PYTHON_FILES, ROOT / "README.md", ROOT / "Makefile", ROOT / "BUILD"]:
        if path.name != "source_tree_test.py":
            assert not pattern.search(path.read_text()), path
