import json

import pytest

from keras_efficientnet.common import sidecars
from keras_efficientnet.preprocessing import EvalPreprocessing

# Every line boundary of `str.splitlines` except the line feed.
ODD = ("a\rb", "a\vb", "a\fb", "a\x1cb", "a\x85b", "a\u2028b", "a\u2029b", " a")


def test_unusual_names_survive_the_round_trip(tmp_path):
    path = tmp_path / "labels.txt"
    sidecars.write_labels(ODD, path)
    assert path.read_bytes().count(b"\n") == len(ODD)
    assert sidecars.read_labels(path) == ODD


@pytest.mark.parametrize(
    "content",
    [
        b"cat\ndog\n",
        b"cat\ndog",
        b"\xef\xbb\xbfcat\ndog\n",  # with byte order mark
        b"cat\r\ndog\r\n",
    ],
)
def test_reads_files_of_other_editors(content, tmp_path):
    path = tmp_path / "labels.txt"
    path.write_bytes(content)
    assert sidecars.read_labels(path) == ("cat", "dog")


def test_encoding_error_names_the_file(tmp_path):
    path = tmp_path / "labels.txt"
    path.write_bytes("cat\nKüken\n".encode("latin-1"))
    with pytest.raises(ValueError, match=r"must be UTF-8 text.* .*labels.txt \("):
        sidecars.read_sidecars(tmp_path)


@pytest.mark.parametrize(
    ("names", "message"),
    [
        (("a\nb", "c"), r"not contain line feeds.* Received: .a.+b"),
        (("a\r", "b\r"), "end with a carriage return"),
        (("\ufeffa", "b"), "byte order mark"),
        (("a", "\udce9"), "valid Unicode.* Received: '.udce9'"),
    ],
)
def test_rejects_names_that_a_file_cannot_represent(names, message, tmp_path):
    with pytest.raises(ValueError, match=message):
        sidecars.write_labels(names, tmp_path / "labels.txt")
    assert not (tmp_path / "labels.txt").exists()


@pytest.mark.parametrize(
    ("names", "message"),
    [
        (("a", ""), "must not be empty. Received: net, where line 2 is empty"),
        (("a", " "), "line 2 is empty"),
        (("a", "a"), "must be distinct. Received: net with 'a' more than once"),
        (("a",), "one label per class. Received: net with 2 classes and 1 labels"),
        (("a", "b", "c"), "2 classes and 3 labels"),
    ],
)
def test_rejects_labels_that_do_not_match_the_classes(names, message):
    with pytest.raises(ValueError, match=message):
        sidecars.check_labels(names, 2, "net")


def test_preprocessing_survives_the_round_trip(tmp_path):
    spec = EvalPreprocessing(48, 1.0, "bilinear")
    text = sidecars.format_preprocessing(spec, "sigmoid", {"a.tflite": "12"}, "34")
    (tmp_path / "preprocessing.json").write_text(text)
    found = sidecars.read_sidecars(tmp_path)
    assert EvalPreprocessing(**found.preprocessing) == spec
    assert (found.output_activation, found.model) == ("sigmoid", "34")
    assert found.artefacts == {"a.tflite": "12"}
    assert found.labels is None


def test_converts_crop_padding_of_older_files_to_a_ratio():
    text = '{"image_size": 300, "crop_padding": 32, "resize": "bicubic"}'
    found = sidecars.parse_preprocessing(text, "old")
    spec = EvalPreprocessing(**found.preprocessing)
    assert spec == EvalPreprocessing(300, 300 / 332, "bicubic")


@pytest.mark.parametrize(
    "text",
    [
        "{",
        "[1]",
        json.dumps({"image_size": -1}),
        json.dumps({"size": 32}),
        json.dumps({"output_activation": "relu"}),
        json.dumps({"artefacts": ["x"]}),
        json.dumps({"crop_padding": 32}),
    ],
)
def test_rejects_invalid_json(text, tmp_path):
    (tmp_path / "preprocessing.json").write_text(text)
    with pytest.raises(ValueError, match=r"must be a JSON object.*preprocessing.json"):
        sidecars.read_sidecars(tmp_path)


def test_digest_of_a_folder_depends_on_names_and_contents(tmp_path):
    def digest(files):
        for name, content in files.items():
            path = tmp_path / str(len(found)) / name
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_bytes(content)
        return sidecars.digest(tmp_path / str(len(found)))

    found = []
    for files in (
        {"a": b"1", "d/b": b"2"},
        {"a": b"1", "d/b": b"3"},
        {"a": b"1", "d/c": b"2"},
    ):
        found.append(digest(files))
    assert len(set(found)) == 3
    # Source: NIST's example for SHA-256, FIPS 180-2, B.1.
    (tmp_path / "abc").write_bytes(b"abc")
    assert sidecars.digest(tmp_path / "abc").startswith("ba7816bf8f01cfea")
