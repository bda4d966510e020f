"""Shell commands of the guides, parsed by the programs that they call."""

import ast
import importlib
import importlib.util
import pathlib
import re
import shlex

from absl import flags

import research.main
from keras_efficientnet import _commands
from tests.support.paths import ROOT

_BLOCKS = re.compile(r"^```(\w*)\n(.*?)^```", re.M | re.S)
_ENDS = {";", "&&", "|", ">", "&", "#"}
# Placeholder in the guides -> a valid value.
_PLACEHOLDERS = {
    "STUDY": "tables",
    "RECIPE": "digits",
    "NAME[:ARGUMENT]": "digits",
    "$lr": "0.1",
}


# Packages that need an environment of their own.
OTHER_ENVIRONMENTS = {"apache_beam"}


def shell_lines(text):
    """Lists the command lines in a page's code blocks, with continuations joined."""
    for language, block in _BLOCKS.findall(text):
        if language not in {"", "sh", "bash"}:
            continue
        joined = re.sub(r"\\\n|\n(?=\s+[\[-])", " ", block)
        yield from (line.strip() for line in joined.splitlines() if line.strip())


def our_commands(text):
    """Lists (module, arguments) of each call of our programs on a page."""
    for line in shell_lines(text):
        if "python -m" not in line and "efficientnet-" not in line:
            continue
        for written, stands_for in _PLACEHOLDERS.items():
            line = line.replace(written, stands_for)
        words = re.sub(r"\[(?=-)|(?<=\S)\](?=\s|$)", "", line).split(" #")[0]
        words = [word for word in shlex.split(words) if word != "..."]
        words = [part for word in words for part in re.split(r"(;)$", word) if part]
        for i, word in enumerate(words):
            if word == "-m" and words[i - 1].endswith("python"):
                yield words[i + 1], _until_end(words[i + 2 :])
            elif re.fullmatch("efficientnet-(?!keras)[a-z-]+", word):
                yield _program(word), _until_end(words[i + 1 :])


def source_file(module):
    """Returns the file that `python -m MODULE` imports first, or None."""
    path = ROOT / module.replace(".", "/")
    if (path / "__main__.py").is_file():
        return path / "__init__.py"
    return path.with_suffix(".py") if path.with_suffix(".py").is_file() else None


def check(module, arguments):
    """Makes a program parse its arguments; raises an error if it rejects them."""
    package = module.split(".")[0]
    if not (ROOT / package / "__init__.py").is_file():
        assert package in OTHER_ENVIRONMENTS or importlib.util.find_spec(module), module
        return
    path = source_file(module)
    assert path is not None, module
    arguments = [x for x in arguments if not x.startswith("--config.FIELD")]
    if "def define_flags(" in path.read_text():
        values, argv = flags.FlagValues(), [module, *arguments]
        program = importlib.import_module(module)
        if module == "training.main":
            argv = program.define_flags(values, argv)
        else:
            program.define_flags(values)
        values(argv)
        if module == "training.main":
            values.config.validate()
        return
    if module == "research.main":
        if arguments:
            research.main.parse(arguments)
        return
    known = _defined_options(path)
    for argument in arguments:
        if argument.startswith("--"):
            assert re.sub("=.*", "", argument)[2:] in known, (module, argument)


def _until_end(words):
    ends = [i for i, word in enumerate(words) if word in _ENDS]
    return words[: ends[0]] if ends else words


def _program(command):
    """Returns the module, in the checkout, of an installed command."""
    target = re.search(
        rf'"{command}=keras_efficientnet\._commands:(\w+)"',
        (ROOT / "setup.py").read_text(),
    )
    assert target, command
    source = ast.parse(pathlib.Path(_commands.__file__).read_text())
    (function,) = [
        node
        for node in source.body
        if isinstance(node, ast.FunctionDef) and node.name == target[1]
    ]
    return ast.literal_eval(function.body[-1].value.args[0])


def _defined_options(path):
    """Returns the options that a program's source defines with absl or argparse."""
    found = set()
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.Call) and node.args:
            name = getattr(node.func, "attr", getattr(node.func, "id", ""))
            first = node.args[0]
            defines = name == "add_argument" or name.startswith("DEFINE_")
            if defines and isinstance(first, ast.Constant):
                found.add(str(first.value).lstrip("-"))
    return found
