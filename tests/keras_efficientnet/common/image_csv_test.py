import numpy as np
import pytest

from keras_efficientnet.common import image_csv

FILES = ("a.jpg", "b.jpg", "c.jpg", "sub/d.jpg")


@pytest.fixture
def write(tmp_path):
    for name in FILES:
        path = tmp_path / name
        path.parent.mkdir(exist_ok=True)
        path.write_bytes(b"")

    def write_table(text, name="list.csv"):
        path = tmp_path / name
        path.write_bytes(text if isinstance(text, bytes) else text.encode())
        return path

    return write_table


def test_reads_paths_relative_to_the_file_and_labels_in_class_order(write, tmp_path):
    text = "path,label\nb.jpg,10\nsub/d.jpg,9\n./a.jpg, 10\n\n"
    found = image_csv.open_image_csv(write(text))
    names = ("b.jpg", "sub/d.jpg", "a.jpg")
    assert found.images.paths == tuple(str(tmp_path / name) for name in names)
    assert found.images.class_names == ("9", "10")  # as numbers
    assert found.images.labels.tolist() == [1, 0, 1]
    assert found.splits is None
    assert found.weights is None


def test_reads_tab_separated_files_with_splits_and_weights(write):
    lines = ["weight label split path", "2 cat,big Training a.jpg", "0.5 dog val b.jpg"]
    text = "\n".join(lines).replace(" ", "\t")
    found = image_csv.open_image_csv(write(text, "list.TSV"))
    assert found.images.class_names == ("cat,big", "dog")
    assert found.splits == ("train", "validation")
    np.testing.assert_array_equal(found.weights, np.float32([2, 0.5]))


def test_headers_can_be_chosen(write):
    path = write("image,class,fold,path\na.jpg,x,train,?\nb.jpg,y,test,?\n")
    found = image_csv.open_image_csv(f"{path}?path=image&label=class&split=fold")
    assert found.images.class_names == ("x", "y")
    assert found.splits == ("train", "test")


def test_reads_byte_order_marks_quotes_and_windows_line_ends(write):
    text = b'\xef\xbb\xbfpath,label\r\n"a.jpg","a ""b"""\r\nb.jpg,c\r\n'
    found = image_csv.open_image_csv(write(text))
    assert found.images.class_names == ('a "b"', "c")


def test_reads_any_number_of_labels(write):
    text = "path,label\na.jpg,cat | dog\nb.jpg,\nc.jpg,dog\nsub/d.jpg,dog|9\n"
    found = image_csv.open_image_csv(write(text), multi_label=True).images
    assert found.class_names == ("9", "cat", "dog")
    assert found.label_sets.tolist() == [[0, 1, 1], [0, 0, 0], [0, 0, 1], [1, 0, 1]]
    assert found.labels.tolist() == [1, -1, 2, 0]  # the rarest
    assert found.take([3, 1]).label_sets.tolist() == [[1, 0, 1], [0, 0, 0]]


def test_ignores_blank_lines(write):
    found = image_csv.open_image_csv(write("\n\npath,label\n\na.jpg,x\n\nb.jpg,y\n"))
    assert found.images.class_names == ("x", "y")


@pytest.mark.parametrize(
    ("label", "message"),
    [
        ("cat|cat", "line 2 must have each label once.* label='cat|cat'"),
        ("cat|", "line 2 must have a label that fits.* label='cat|'"),
        ("cat|x/y", "line 2 must have a label that fits"),
    ],
)
def test_rejects_unusable_labels_of_several(write, label, message):
    with pytest.raises(ValueError, match=message):
        image_csv.open_image_csv(
            write(f"path,label\na.jpg,{label}\n"), multi_label=True
        )


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("", "must have one column 'path' in its first line.* Received: no columns"),
        ("path,labels\n", "one column 'label'.* Did you mean 'labels'"),
        ("path;label\na.jpg;x\n", "by commas, .* Received: semicolons, in path;label"),
        ("path\tlabel\na.jpg\tx\n", "by commas, .* Received: tabs, in"),
        ("path,path,label\n", "one column 'path' in its first line. Other headers"),
        ("path,label,split,split\n", "one column 'split'"),
        ("path,label\n", "must list images"),
        ("path,label\na.jpg,x\nb.jpg\n", "line 3 must have 2 values.* Received: 1"),
        ("path,label\na.jpg,x\ne.jpg,x\nf.jpg,x\n", "line 3 .*e.jpg and 1 others"),
        ("path,label\n../a.jpg,x\n", r"line 2 .* in the folder .*'\.\./a\.jpg'"),
        ("path,label\nsub/../../a.jpg,x\n", "line 2 .* in the folder of the file"),
        ("path,label\n/etc/a.jpg,x\n", "line 2 .* in the folder of the file"),
        ("path,label\n,x\n", "line 2 .* in the folder of the file"),
        ("path,label\nsub,x\n", "line 2 must have the path of a file that exists"),
        ("path,label\na.heic,x\n", "line 2 must have an image that can be decoded"),
        ("path,label\na.jpg,\n", "line 2 must have a single label.* label=''"),
        ("path,label\na.jpg,x/y\n", "line 2 must have a label that fits"),
        ("path,label\na.jpg,x|y\n", "line 2 .* single label.* label='x|y'"),
        (
            "path,label\na.jpg,x\nb.jpg,x\nsub/../a.jpg,y\n",
            "line 4 must have an image .* line 2 lists too, with labels 'x' and 'y'",
        ),
        ("path,label\na.jpg,x\na.jpg,x\n", "line 3 .*, with the same label"),
        ("path,label,split\na.jpg,x,trial\n", "line 2 must have the split .*='trial'"),
        ("path,label,split\na.jpg,x,vaildation\n", "Did you mean 'validation'"),
        ("path,label,split\na.jpg,x,\n", "line 2 must have the split"),
        ("path,label,weight\na.jpg,x,-1\n", "line 2 must have a weight .* weight='-1'"),
        ("path,label,weight\na.jpg,x,inf\n", "line 2 must have a weight"),
        ("path,label,weight\na.jpg,x,1e39\n", "line 2 must have a weight .* 1e.06"),
        ("path,label,weight\na.jpg,x,nan\n", "line 2 must have a weight"),
        ("path,label,weight\na.jpg,x,much\n", "line 2 must have a weight"),
        ('path,label\n"a.jpg,x\n', "must be a valid CSV file"),
        ('path,label\n\na.jpg,"x\ny"\nb.jpg,x\n', "line 3 must have a label that fits"),
        ('path,label\na.jpg,x\n"b\n.jpg",x\nc.jpg,\n', "line 5 must have a single"),
        (b"path,label\na.jpg,\xff\n", "must be UTF-8 text"),
    ],
)
def test_rejects_unusable_lines(write, text, message):
    with pytest.raises(ValueError, match=message):
        image_csv.open_image_csv(write(text))


@pytest.mark.parametrize(
    ("query", "message"),
    [
        ("lable=class", "Did you mean 'label'"),
        ("label", "must be given as in"),
        ("label=", "must be given as in"),
        ("label=class", "one column 'class'"),
        ("split=fold", "one column 'fold'"),
    ],
)
def test_rejects_unusable_headers(write, query, message):
    with pytest.raises(ValueError, match=message):
        image_csv.open_image_csv(f"{write('path,label,split')}?{query}")


def test_rejects_commas_in_a_file_of_tabs(write):
    with pytest.raises(ValueError, match="by tabs, as .tsv .* Received: commas"):
        image_csv.open_image_csv(write("path,label\na.jpg,x\n", "list.tsv"))


def test_rejects_other_files(tmp_path):
    with pytest.raises(ValueError, match="ends in .csv or .tsv"):
        image_csv.open_image_csv(tmp_path / "list.txt")
    with pytest.raises(ValueError, match="must exist"):
        image_csv.open_image_csv(tmp_path / "list.csv")
