import pytest

from export import formats


def test_all_stands_for_every_format():
    assert formats.find_formats(["all"]) == formats.FORMATS


def test_formats_come_once_and_in_the_tables_order():
    found = formats.find_formats(["tflite", "saved_model", "tflite"])
    assert list(found) == ["saved_model", "tflite"]


def test_misspelt_format_is_answered_with_the_nearest():
    with pytest.raises(ValueError, match=r"'tflite_int8'.* Received: 'tflite-int8'"):
        formats.find_formats(["tflite-int8"])


def test_no_format_is_refused():
    with pytest.raises(ValueError, match="at least one of saved_model, tflite"):
        formats.find_formats([])


def test_description_has_a_line_per_format():
    lines = formats.describe_formats().splitlines()
    assert [line.split()[0] for line in lines] == list(formats.FORMATS)


def test_artefacts_have_names_of_their_own():
    names = [row.artefact for row in formats.FORMATS.values()]
    assert len(set(names)) == len(names)
