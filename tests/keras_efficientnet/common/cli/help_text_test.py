import pytest
from absl import flags

from keras_efficientnet.common.cli import help_text


@pytest.mark.parametrize("argument", ["--help", "-h", "-?", "--helpshort"])
def test_help_is_found_anywhere_among_the_flags(argument):
    assert help_text.is_requested(["--model=a", argument])
    assert not help_text.is_requested(["--", argument])
    assert not help_text.is_requested(["--model=a"])


def test_flags_are_listed_with_meaning_and_default():
    values = flags.FlagValues()
    flags.DEFINE_string("model", None, "A model.", flag_values=values, required=True)
    flags.DEFINE_string("split", "test", "A split.", flag_values=values)
    flags.DEFINE_bool("json", False, "Print JSON.", flag_values=values)
    flags.DEFINE_list("formats", ["a", "b"], "One of:\n  a: A.", flag_values=values)
    text = help_text.describe("About.", [values[n] for n in values], "Details.")
    assert text == (
        "About.\n\nFlags:\n"
        "  --formats\n      One of:\n        a: A. Default: a,b.\n"
        "  --[no]json\n      Print JSON. Default: false.\n"
        "  --model\n      A model. Required.\n"
        "  --split\n      A split. Default: test.\n\nDetails."
    )


def test_long_texts_are_wrapped(monkeypatch):
    monkeypatch.setenv("COLUMNS", "60")
    lines = help_text.entry("--name", "word " * 40).split("\n")
    assert max(map(len, lines)) <= 60
    assert all(line.startswith("      word") for line in lines[1:])
