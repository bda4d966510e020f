import pytest

from export.formats import registry


def test_all_selects_every_format():
    names = registry.find_formats(["all"])
    # Golden: the formats that docs/export.md lists.
    assert set(names) == {
        *("saved_model", "tflite", "tflite_float16", "tflite_dynamic"),
        *("tflite_int8", "tflite_int16x8", "onnx", "openvino", "web"),
        *("onnx_int8", "openvino_int8"),
    }


def test_formats_are_unique_and_in_table_order():
    found = registry.find_formats(["tflite", "saved_model", "tflite"])
    assert list(found) == ["saved_model", "tflite"]


def test_error_suggests_the_nearest_format():
    with pytest.raises(ValueError, match=r"'tflite_int8'.* Received: 'tflite-int8'"):
        registry.find_formats(["tflite-int8"])


def test_rejects_an_empty_list_of_formats():
    with pytest.raises(ValueError, match="at least one of saved_model, tflite"):
        registry.find_formats([])


def test_description_has_a_line_per_format():
    lines = registry.describe_formats().splitlines()
    assert [line.split()[0] for line in lines] == [*registry.FORMATS, "fastest"]


def test_artefact_names_are_unique():
    names = [row.artefact for row in registry.FORMATS.values()]
    assert len(set(names)) == len(names)
