import pytest

from keras_efficientnet.common import plain_text


@pytest.mark.parametrize(
    ("text", "shown"),
    [
        ("\x1b]0;owned\x07cat", r"\x1b]0;owned\x07cat"),
        ("cat\r\ndog", r"cat\r\ndog"),
        ("\u202egpj.exe", r"\u202egpj.exe"),
        ("a\u2028b\x85", r"a\u2028b\x85"),
        ("caf\udce9", r"caf\udce9"),
        ("\u6771\u4eac\u3000\U0001f431", "\u6771\u4eac\u3000\U0001f431"),
        ("\u0646\u200c\u0627", "\u0646\u200c\u0627"),
    ],
)
def test_terminals_get_no_control_characters(text, shown):
    assert plain_text.printable(text) == shown


@pytest.mark.parametrize("text", ["=1+1", "+cmd|x", "-2+3", "@SUM(A1)", "\t=1", "\r=1"])
def test_formulas_become_text_and_come_back(text):
    cell = plain_text.csv_cell(text)
    assert cell == f"'{text}"
    assert plain_text.from_csv_cell(cell) == text


@pytest.mark.parametrize(
    "text", ["cat", "-0.5", "+1e3", "'quoted'", "'s Graveland", ""]
)
def test_other_cells_stay_as_they_are(text):
    assert plain_text.csv_cell(text) == text
    assert plain_text.from_csv_cell(text) == text
