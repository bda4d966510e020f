import numpy as np
from PIL import Image, ImageFont

from export import contact_sheet
from export.contact_sheet import Line


def test_sheet_holds_each_image_in_its_place(tmp_path):
    colours = [(255.4, 0, 0), (0, 255, -9), (0, 0, 255)] * 2
    cells = [np.broadcast_to(np.float32(c), (32, 32, 3)) for c in colours]
    captions = [[Line("one")], [Line("two"), Line("lines")]] * 3
    contact_sheet.write_sheet(cells, captions, tmp_path / "sheet.png")
    with Image.open(tmp_path / "sheet.png") as sheet:
        assert sheet.size == (8 + 5 * 184, 8 + 2 * (184 + 2 * 16))
        assert sheet.getpixel((90, 90)) == (255, 0, 0)
        assert sheet.getpixel((90 + 184, 90)) == (0, 255, 0)
        assert sheet.getpixel((90, 90 + 216)) == (0, 0, 255)


def test_wrong_answers_are_framed_in_red(tmp_path):
    cells = [np.zeros((32, 32, 3), np.float32)] * 2
    captions = [[Line("cat")], [Line("Keras: cat", is_wrong=True), Line("true: dog")]]
    contact_sheet.write_sheet(cells, captions, tmp_path / "sheet.png")
    with Image.open(tmp_path / "sheet.png") as sheet:
        assert sheet.getpixel((6, 90)) == (255, 255, 255)
        assert sheet.getpixel((6 + 184, 90)) == (0xC0, 0, 0)
        is_red = np.all(np.asarray(sheet)[184:] == (0xC0, 0, 0), axis=-1)
        assert not is_red[:, :190].any()
        assert is_red[:16, 190:].any()  # the wrong answer
        assert not is_red[16:, 190:].any()  # the true class


def test_long_captions_are_cut():
    font = ImageFont.load_default(contact_sheet.FONT_SIZE)
    text = contact_sheet._fit(
        "a very long name of a class that does not end soon", font
    )
    assert text.startswith("a very long")
    assert text.endswith("...")
    assert font.getlength(text) <= contact_sheet.SIDE
