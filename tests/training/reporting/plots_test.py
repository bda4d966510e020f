import numpy as np
import pytest
import tensorflow as tf
from matplotlib import cbook

from training.reporting import plots


def test_curves_are_drawn_for_one_epoch_and_for_many(tmp_path):
    for count in (1, 40):
        rows = [
            {
                "epoch": e,
                "learning_rate": 0.1 / e,
                "train_loss": 1 / e,
                "train_top1": 1 - 1 / (e + 1),
                "validation_loss": 1.2 / e,
                "validation_top1": 1 - 1 / (e + 2),
            }
            for e in range(1, count + 1)
        ]
        path = tmp_path / f"{count}.png"
        plots.draw_curves(rows, path, best_epoch=count)
        height, width, _ = tf.io.decode_png(path.read_bytes()).shape
        assert width > 2 * height > 600


def test_curves_mark_the_epoch_whose_weights_were_kept(tmp_path, monkeypatch):
    figures = []

    class Recorded(plots.Figure):
        def __init__(self, **options):
            super().__init__(**options)
            figures.append(self)

    monkeypatch.setattr(plots, "Figure", Recorded)
    row = {"learning_rate": 0.1, "train_loss": 1.0, "validation_loss": 1.0}
    # The same top-1 three times: the lowest loss decides, not the first epoch.
    tops = {"train_top1": 0.5, "validation_top1": 0.9}
    rows = [{"epoch": float(e), **row, **tops} for e in (1, 2, 3)]
    options = {"best_epoch": 2.0, "label_smoothing": 0.1}
    plots.draw_curves(rows, tmp_path / "curves.png", **options)
    left, middle, _ = figures[0].axes
    assert left.get_title(loc="left") == "Loss (log scale, label smoothing 0.1)"
    labels = [text.get_text() for text in middle.get_legend().get_texts()]
    assert labels[-1] == "best validation: 90.0%, epoch 2"


def test_captions_of_pictures_keep_both_classes():
    axes = plots.Figure().subplots()
    names = ("soft-coated wheaten terrier", "golden retriever puppy")
    plots._draw_one(axes, np.zeros((2, 2, 3), np.uint8), names[1], names[0], 0.5)
    first, second, share = axes.get_title().split("\n")
    assert first.startswith("soft-coated")
    assert second.startswith("not golden")
    assert share == "50%"
    assert max(len(first), len(second)) <= plots.TITLE_LENGTH


def test_wrong_and_uncertain_predictions_come_first_then_each_other_image_once():
    rng = np.random.default_rng(0)
    sure = rng.uniform(0.5, 1.0, 100)
    probabilities = np.stack([sure, 1 - sure], axis=1)
    labels = np.zeros(100, int)
    labels[[7, 9]] = 1  # wrong answers
    order = plots._order(probabilities, labels)
    half = plots.COLUMNS * plots.ROWS // 2
    assert set(order[:2]) == {7, 9}
    assert sorted(order) == list(range(100))
    doubt = sure[order[2:half]]
    assert list(doubt) == sorted(doubt)
    assert doubt.max() <= sure[order[half:]].min()


@pytest.mark.parametrize("classes", [2, 40, 1000])
def test_confusion_is_readable_for_any_number_of_classes(tmp_path, classes):
    rng = np.random.default_rng(0)
    labels = np.repeat(np.arange(classes), 5)
    answers = np.where(rng.random(5 * classes) < 0.8, labels, (labels + 1) % classes)
    names = [f"class number {i}" for i in range(classes)]
    path = tmp_path / "confusion.png"
    plots.draw_confusion(labels, answers, names, path)
    height, width, _ = tf.io.decode_png(path.read_bytes()).shape
    assert 200 < height < 3000
    assert 200 < width < 3000


def test_confused_pairs_are_sorted_by_frequency(monkeypatch):
    labels = np.array([0, 0, 0, 1, 1, 2])
    answers = np.array([1, 1, 0, 2, 1, 2])
    figure = plots._confused_pairs(labels, answers, ["a", "b", "c"])
    (axes,) = figure.axes
    texts = [text.get_text() for text in axes.get_yticklabels()]
    assert texts == ["b predicted as c", "a predicted as b"]  # the last is drawn on top
    assert [bar.get_width() for bar in axes.patches] == [1, 2]
    assert [note.get_text() for note in axes.texts] == ["1 of 2", "2 of 3"]
    assert "of 2; 3 of 6 images misclassified" in axes.get_title(loc="left")


def test_a_model_without_mistakes_has_no_bars():
    labels = np.arange(100)
    figure = plots._confused_pairs(labels, labels, [str(i) for i in labels])
    (axes,) = figure.axes
    assert not axes.patches
    assert "of 0; 0 of 100 images misclassified" in axes.get_title(loc="left")


def test_names_with_dollars_are_not_formulas():
    labels = np.array([0, 1])
    names = ["$1_A_front", "$5_A_front"]
    figure = plots._confusion_matrix(labels, labels[::-1], labels, names)
    axes = figure.axes[0]
    assert (axes.get_ylabel(), axes.get_xlabel()) == ("True", "Predicted")
    ticks = [text.get_text() for text in axes.get_xticklabels()]
    assert len(ticks) == 2
    assert not any(cbook.is_math_text(text) for text in ticks)


def test_long_names_are_shortened():
    assert plots.short("a" * 24) == "a" * 24
    assert len(plots.short("a" * 25)) == 24
