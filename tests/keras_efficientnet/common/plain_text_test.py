import pytest
from matplotlib.figure import Figure

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
def test_escapes_control_characters(text, shown):
    assert plain_text.printable(text) == shown


@pytest.mark.parametrize(
    "text", ["$5_bill", "$a_b$", "x^2_$i$_$j", r"\$a_b\$", "100%_cotton^", "_"]
)
def test_matplotlib_draws_literal_text_as_it_is(text):
    """Golden: Matplotlib's own reading of a text."""
    drawn = Figure().text(0, 0, plain_text.literal(text))
    shown, is_math = drawn._preprocess_math(drawn.get_text())
    assert (shown, is_math) == (text, False)


# Messages as TensorFlow 2.21 writes them.
HEAD = "{{function_node __wrapped__IteratorGetNext_device_/job:localhost/task:0}} "
MAPPED = (
    "Error in user-defined function passed to MapDataset:1 transformation with "
    "iterator: Iterator::Root::ParallelMapV2: "
)
AT = "Graph execution error:\n\nDetected at node f/DecodeImage defined at (most recent"
AT += ' call last):\n  File "a.py", line 7, in <module>\n\n  File "b.py", line 41\n\n'
END = "\n\t [[{{node f/DecodeImage}}]] [Op:__inference_decode_image_73]"
TRACE = 'Traceback (most recent call last):\n\n  File "c.py", line 2\n    x = f()\n'
ROOTS = "2 root error(s) found.\n  (0) INVALID_ARGUMENT:  bad\n\t [[{{node a}}]]\n"


@pytest.mark.parametrize(
    ("text", "reason"),
    [
        (f"{AT}Invalid PNG.{END}", "Invalid PNG."),
        (f"{HEAD}/a; No such file [Op:ReadFile]", "/a; No such file"),
        (
            f"{HEAD}corrupted record at 0 [Op:IteratorGetNext] name: ",
            "corrupted record at 0",
        ),
        (f"{HEAD}{MAPPED}Unknown format.{END}", "Unknown format."),
        (
            f"{AT}OSError: cannot read <_io.BytesIO object at 0x7f>\n{TRACE}{END}",
            "OSError: cannot read",
        ),
        (f"{ROOTS}  (1) INVALID_ARGUMENT:  bad{END}", "bad"),
        ("", "OSError"),
    ],
)
def test_reason_of_a_tensorflow_error_is_one_line(text, reason):
    assert plain_text.tf_reason(OSError(text)) == reason


@pytest.mark.parametrize("text", ["=1+1", "+cmd|x", "-2+3", "@SUM(A1)", "\t=1", "\r=1"])
def test_escapes_formulas_reversibly(text):
    cell = plain_text.csv_cell(text)
    assert cell == f"'{text}"
    assert plain_text.from_csv_cell(cell) == text


@pytest.mark.parametrize(
    "text", ["cat", "-0.5", "+1e3", "'quoted'", "'s Graveland", ""]
)
def test_keeps_other_cells_unchanged(text):
    assert plain_text.csv_cell(text) == text
    assert plain_text.from_csv_cell(text) == text
