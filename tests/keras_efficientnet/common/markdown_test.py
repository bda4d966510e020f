import pytest

from keras_efficientnet.common import markdown


def test_right_aligns_numeric_columns():
    rows = [{"name": "a", "n": 1, "change": "+2%"}, {"name": 2, "n": 0.5, "change": -1}]
    assert markdown.table(rows).splitlines() == [
        "| name | n | change |",
        "| --- | ---: | ---: |",
        "| a | 1 | +2% |",
        "| 2 | 0.5 | -1 |",
    ]


@pytest.mark.parametrize(
    ("text", "shown"),
    [
        ("a\n# Heading", r"a\\n# Heading"),
        ("| a | b |", r"\| a \| b \|"),
        ("[x](http://evil)", r"\[x\](http://evil)"),
        ("<script>", r"\<script\>"),
        ("caf\u00e9_1.jpg", "caf\u00e9_1.jpg"),
    ],
)
def test_escapes_untrusted_text(text, shown):
    assert markdown.escape(text) == shown
    (_, _, row) = markdown.table([{"image": markdown.escape(text)}]).splitlines()
    assert row == f"| {shown} |"


def test_cells_cannot_break_out_of_their_row():
    table = markdown.table([{"a": "x\n| y | z |", "b": "`p|q`"}])
    assert table.splitlines()[2] == r"| x\n\| y \| z \| | `p\|q` |"


def test_code_spans_can_contain_backticks():
    assert markdown.code("a.jpg") == "`a.jpg`"
    assert markdown.code("a``b`c") == "``` a``b`c ```"
    assert markdown.code("a\n# b") == r"`a\n# b`"
