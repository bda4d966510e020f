"""Rules about the source: import directions, BUILD, file sizes, import cost,
wording."""

import ast
import collections
import graphlib
import os
import pathlib
import re
import subprocess
import sys

import pytest

from tests.support.paths import ROOT

# Our packages that each package may import, besides itself.
ARROWS = {
    "keras_efficientnet": set(),
    "training": {"keras_efficientnet"},
    "export": {"keras_efficientnet"},
    "research": {"keras_efficientnet", "training", "export"},
    "benchmarks": {"benchmarks", "export", "keras_efficientnet", "training"},
}
# Third-party packages that the library may import, and files that use TensorFlow.
LIBRARY_IMPORTS = {
    "filelock",
    "h5py",
    "keras",
    "keras_efficientnet",
    "numpy",
    "safetensors",
}
TENSORFLOW_FILES = {
    *("tf_ops.py", "tf_decoding.py", "tf_files.py", "tf_fused_layers.py"),
    *("image_ops.py", "mixing_ops.py", "op_levels.py", "policies.py"),
    *("random_erasing.py", "tf_calls.py", "tf_replicas.py"),
}
PILLOW_FILES = {"file_limits.py", "image_folders.py", "pillow_decoding.py"}
# Imported inside functions, not with the library.
LAZY_IMPORTS = {
    "addons.py": {"tensorflow_addons"},
    "exit_codes.py": {"absl"},
    "model_flags.py": {"absl"},
    "gradients.py": {"tensorflow", "jax", "torch"},
    "hub.py": {"huggingface_hub"},
    "rmsprop.py": {"tensorflow"},
    "conversion.py": {"tensorflow"},
    "tflite_latency.py": {"ai_edge_litert"},
    "reference_logits.py": {
        "efficientnet_pytorch",
        "timm",
        "torch",
        "torchvision",
        "transformers",
    },
    "weight_averages.py": {"jax", "torch"},
}
# Concept: (module that owns it, pattern that must not occur elsewhere).
_COMMON = "keras_efficientnet/common"
OWNERS = {
    "cache folder": (f"{_COMMON}/files.py", r"environ.*KERAS_HOME"),
    "atomic write": (f"{_COMMON}/files.py", r"os\.(replace|rename)\b|mkstemp"),
    "lock": (f"{_COMMON}/files.py", r"\b(fcntl|msvcrt|filelock)\b"),
    "CSV file": (f"{_COMMON}/files.py", r"csv\.(writer|DictWriter)"),
    "class matching": (f"{_COMMON}/image_classes.py", r"def match_classes"),
    "balanced choice": (f"{_COMMON}/image_classes.py", r"def \w*balanced"),
    "file listing": (f"{_COMMON}/image_folders.py", r"os\.(walk|scandir|listdir)"),
    "image suffixes": (
        "keras_efficientnet/preprocessing/geometry.py",
        r"[\"']\.jpe?g[\"'],",
    ),
    "labels.txt": (f"{_COMMON}/sidecars.py", r"\"labels\.txt\""),
    "preprocessing.json": (f"{_COMMON}/sidecars.py", r"\"preprocessing\.json\""),
    "nearest choice": (f"{_COMMON}/choices.py", r"get_close_matches"),
    "SAME padding": (f"{_COMMON}/padding.py", r"def same_padding"),
    "confidence interval": (f"{_COMMON}/intervals.py", r"def wilson_interval|1\.9599"),
    "cross-entropy": ("training/metrics/losses.py", r"softmax_cross_entropy"),
    "weight decay": (
        "keras_efficientnet/optimizers/base.py",
        r"\.exclude_from_weight_decay\(|_NORMALIZATION_WEIGHTS",
    ),
    "layer order": (
        "keras_efficientnet/weights/formats/base.py",
        r"def layer_order",
    ),
    "Markdown table": (f"{_COMMON}/markdown.py", r"\| ?-{3}|[\"'] \| [\"']\.join"),
}
# Folders and files whose wording is checked; a new folder belongs here.
PLAIN_ENGLISH = (
    "benchmarks",
    "examples",
    "export",
    "keras_efficientnet",
    "launch",
    "research",
    "tests",
    "training",
)
# Wording that readers stumbled over, and what to write in its place.
ODD_WORDING = {
    r"\btold\b": "reported, specified, distinguished",
    r"\bnamesakes?\b": "an earlier file of the same name",
    r"\banybody\b": "anyone; untrusted, of a file",
    r"\b(goes|go|going|gone) on with\b": "resumes, continues",
    r"\bsittings?\b": "sessions",
    r"\basked for\b": "requested",
    r"\bmend(s|ed|ing)?\b": "fix",
    r"\bnot at all\b": "atomically; no, without",
    r"\bwhoever\b": "the caller, users who",
    r"\bno such text\b": "not a valid ...",
}
_RIDDLES = ("What ", "How ", "Of ", "Whoever ", "Whose ")
PROGRAMS = ("keras_efficientnet", "training", "export", "research")
PYTHON_FILES = sorted(
    path
    for folder in (*ARROWS, "examples", "launch", "tests")
    for path in (ROOT / folder).rglob("*.py")
)


def _module_name(path):
    parts = path.relative_to(ROOT).with_suffix("").parts
    return ".".join(parts[:-1] if parts[-1] == "__init__" else parts)


def _full_imports(path):
    """Yields the full names of the modules that a file imports anywhere."""
    name = _module_name(path)
    package = name if path.name == "__init__.py" else name.rpartition(".")[0]
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            above = package.split(".")[: len(package.split(".")) - node.level + 1]
            parts = [*(above if node.level else []), *([node.module or ""])]
            start = ".".join(part for part in parts if part)
            for alias in node.names:
                inner = f"{start}.{alias.name}"
                file = ROOT / inner.replace(".", "/")
                is_module = file.is_dir() or file.with_suffix(".py").is_file()
                yield inner if is_module else start


def _imports(path):
    """Yields the top-level names of the absolute imports of a file."""
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.Import):
            yield from (alias.name.split(".")[0] for alias in node.names)
        elif isinstance(node, ast.ImportFrom) and node.level == 0:
            yield node.module.split(".")[0]


@pytest.mark.parametrize("package", ARROWS)
def test_packages_import_in_one_direction(package):
    for path in (ROOT / package).rglob("*.py"):
        ours = set(_imports(path)) & set(ARROWS)
        assert ours <= ARROWS[package], path


def test_library_has_few_dependencies():
    for path in (ROOT / "keras_efficientnet").rglob("*.py"):
        others = set(_imports(path)) - sys.stdlib_module_names - LIBRARY_IMPORTS
        allowed = {"tensorflow"} if path.name in TENSORFLOW_FILES else set()
        allowed |= {"PIL"} if path.name in PILLOW_FILES else set()
        allowed |= LAZY_IMPORTS.get(path.name, set())
        assert others <= allowed, (path, others)


def test_no_file_is_longer_than_400_lines():
    lengths = {path: len(path.read_text().splitlines()) for path in PYTHON_FILES}
    assert not {path: n for path, n in lengths.items() if n > 400}


def test_no_folder_has_more_than_15_modules():
    counts = collections.Counter(path.parent for path in PYTHON_FILES)
    assert not {folder: n for folder, n in counts.items() if n > 15}


def test_every_package_has_a_docstring():
    for name in PROGRAMS:
        for path in (ROOT / name).rglob("__init__.py"):
            assert ast.get_docstring(ast.parse(path.read_text())), path


def test_no_module_has_the_name_of_a_standard_one():
    for path in PYTHON_FILES:
        assert path.stem not in sys.stdlib_module_names, path


def test_no_two_public_classes_share_a_name():
    places = collections.defaultdict(list)
    for name in PROGRAMS:
        for path in (ROOT / name).rglob("*.py"):
            for node in ast.parse(path.read_text()).body:
                if isinstance(node, ast.ClassDef) and not node.name.startswith("_"):
                    places[node.name].append(str(path.relative_to(ROOT)))
    assert not {name: found for name, found in places.items() if len(found) > 1}


def test_no_test_imports_another_test():
    for path in (ROOT / "tests").rglob("*.py"):
        for name in _full_imports(path):
            assert not name.endswith("_test"), path


def test_imports_have_no_cycles():
    """Imports inside functions and for type checkers count, too."""
    files = [path for name in ARROWS for path in (ROOT / name).rglob("*.py")]
    modules = {_module_name(path): path for path in files}
    sorter = graphlib.TopologicalSorter(
        {
            name: {found for found in _full_imports(path) if found in modules} - {name}
            for name, path in modules.items()
        }
    )
    sorter.prepare()  # raises CycleError, which names the cycle


@pytest.fixture(scope="module")
def after_import():
    """Modules that the import adds to Keras', log level, and registered classes."""
    code = (
        "import os, sys, keras; before = set(sys.modules); import keras_efficientnet;"
        "print(*sorted(set(sys.modules) - before));"
        "print(os.environ.get('TF_CPP_MIN_LOG_LEVEL'));"
        "print(*keras.saving.get_custom_objects())"
    )
    clean = {k: v for k, v in os.environ.items() if k != "TF_CPP_MIN_LOG_LEVEL"}
    command = [sys.executable, "-c", code]
    done = subprocess.run(
        command, cwd=ROOT, env=clean, capture_output=True, text=True, check=True
    )
    added, level, registered = done.stdout.splitlines()
    return added.split(), level, registered.split()


def test_importing_leaves_the_log_level(after_import):
    """Only the commands of this package change it."""
    assert after_import[1] == "None"


def test_importing_registers_what_a_compiled_model_needs(after_import):
    for name in ("TF1RMSprop", "LARS", "LAMB", "WarmupCosineDecay"):
        assert f"keras_efficientnet>{name}" in after_import[2]


def test_importing_imports_no_reader_of_weights(after_import):
    prefix = "keras_efficientnet.weights"
    tables = ("table", "table_keras", "table_torch", "table_v2")
    modules = (*tables, "repository", "weight_file")
    names = ("", ".load", ".registry", *(f".registry.{name}" for name in modules))
    ours = {name for name in after_import[0] if name.startswith(prefix)}
    assert ours == {prefix + name for name in names}


def test_importing_adds_little_to_keras(after_import):
    """The package imports no TensorFlow extras, network or archive modules."""
    others = [
        name
        for name in after_import[0]
        if not name.startswith("keras_efficientnet")
        and name.split(".")[0] not in {"difflib", "importlib", "colorsys"}
    ]
    assert not others


@pytest.mark.parametrize("concept", OWNERS)
def test_each_concept_has_one_owner(concept):
    owner, pattern = OWNERS[concept]
    sources = [path for folder in PROGRAMS for path in (ROOT / folder).rglob("*.py")]
    found = {p.relative_to(ROOT) for p in sources if re.search(pattern, p.read_text())}
    assert {str(path) for path in found} == {owner}


def _build_file():
    """Returns name -> arguments of the libraries in BUILD, and name -> value."""
    libraries, values = {}, {}
    for node in ast.parse((ROOT / "BUILD").read_text()).body:
        if isinstance(node, ast.Assign):
            values[node.targets[0].id] = ast.literal_eval(node.value)
        elif isinstance(node.value, ast.Call) and node.value.func.id == "py_library":
            arguments = {item.arg: item.value for item in node.value.keywords}
            libraries[ast.literal_eval(arguments["name"])] = arguments
    return libraries, values


def test_fast_tests_in_build_exist():
    _, values = _build_file()
    assert values["FAST_TESTS"] == sorted(values["FAST_TESTS"])
    for name in values["FAST_TESTS"]:
        assert (ROOT / f"{name}.py").is_file()


def test_deps_in_build_equal_the_imports():
    libraries, _ = _build_file()
    assert libraries.keys() == ARROWS.keys() | {"testing"}
    for name in ARROWS:
        deps = ast.literal_eval(libraries[name]["deps"])
        files = (ROOT / name).rglob("*.py")
        used = {found for path in files for found in _imports(path)} & set(ARROWS)
        assert deps == sorted(f":{other}" for other in used - {name}), name


def test_sources_do_not_mention_the_development_machine():
    pattern = re.compile(r"/work/|/tmp/w\b|\bissue \d+ of ours\b")
    for path in [*PYTHON_FILES, ROOT / "README.md", ROOT / "Makefile", ROOT / "BUILD"]:
        if path.name != "source_tree_test.py":
            assert not pattern.search(path.read_text()), path


def _argument_texts(docstring):
    """Yields (name, first line) of each entry under `Args:` and `Attributes:`."""
    section = ""
    for line in docstring.splitlines():
        if line and not line.startswith(" "):
            section = line
        entry = re.match(r" {4}\*{0,2}(\w+): (.*)", line)
        if entry and section in ("Args:", "Attributes:"):
            yield entry.groups()


def _wording_faults(source):
    """Lists what reads oddly in a module, each with its line number."""
    faults = []
    functions = (ast.FunctionDef, ast.AsyncFunctionDef)
    for node in ast.walk(ast.parse(source)):
        if not isinstance(node, (ast.Module, ast.ClassDef, *functions)):
            continue
        line = getattr(node, "lineno", 1)
        if isinstance(node, functions) and re.search("_(told|said)$", node.name):
            faults.append((line, f"{node.name}: name the behaviour"))
        docstring = ast.get_docstring(node) or ""
        if docstring.startswith(_RIDDLES):
            faults.append((line, f"{docstring.splitlines()[0]!r}: name the thing"))
        for name, text in _argument_texts(docstring):
            if text.startswith(_RIDDLES):
                faults.append((line, f"{name}: {text!r}: begin with a noun"))
    for number, line in enumerate(source.splitlines(), start=1):
        for pattern, better in ODD_WORDING.items():
            if found := re.search(pattern, line, re.IGNORECASE):
                faults.append((number, f"{found[0]!r}: write {better}"))
    return faults


@pytest.mark.parametrize(
    ("source", "fault"),
    [
        ('"""What a layer costs."""', "'What a layer costs.': name the thing"),
        ('class A:\n    """How it is done."""', "'How it is done.': name the thing"),
        (
            'def f(a):\n    """Does it.\n\n    Args:\n        a: Of the file.\n    """',
            "a: 'Of the file.': begin with a noun",
        ),
        ("def test_it_is_told():\n    pass", "test_it_is_told: name the behaviour"),
        ("# Anybody may write it.", "'Anybody': write anyone; untrusted, of a file"),
    ],
)
def test_the_wording_check_finds_faults(source, fault):
    assert fault in [text for _, text in _wording_faults(source)]


def test_the_wording_check_accepts_plain_english():
    assert not _wording_faults(
        'def f(a):\n    """Opens it.\n\n    Args:\n        a: Path of the file.\n\n'
        '    Returns:\n        text: Of any length.\n    """'
    )


@pytest.mark.parametrize("place", PLAIN_ENGLISH)
def test_wording_is_plain_english(place):
    paths = [p for p in PYTHON_FILES if p.is_relative_to(ROOT / place)]
    assert paths, place
    faults = {
        str(path.relative_to(ROOT)): found
        for path in paths
        if path != pathlib.Path(__file__)  # quotes them
        and (found := _wording_faults(path.read_text()))
    }
    assert not faults
