import math

import pytest
import tensorflow as tf

from training.reporting import metric_writers


def row(epoch):
    return {
        "epoch": epoch,
        "step": 10.0 * epoch,
        "learning_rate": 0.1,
        "train_loss": 1 / epoch,
        "train_top1": 0.5,
        "validation_loss": 0.25,
        "validation_top1": 0.75,
        "validation_top5": 1.0,
        "seconds": 3.0,
    }


def test_metrics_keep_rows_up_to_the_resumed_step(tmp_path):
    path = tmp_path / "metrics.csv"
    metrics = metric_writers.MetricsWriter(path, first_step=0)
    for epoch in (1, 2, 3):
        metrics.add(row(epoch))
    assert path.read_text().splitlines()[0].startswith("epoch,step,learning_rate")
    resumed = metric_writers.MetricsWriter(path, first_step=20)
    assert [r["epoch"] for r in resumed.rows] == [1, 2]
    resumed.add(row(3))
    assert len(path.read_text().splitlines()) == 4
    assert [p.name for p in tmp_path.iterdir()] == ["metrics.csv"]


def test_tensorboard_holds_the_metrics(tmp_path):
    with metric_writers.TensorBoardWriter(tmp_path) as board:
        board.add(row(2))
    (path,) = tmp_path.iterdir()
    found = {}
    for record in tf.data.TFRecordDataset(str(path)):
        event = tf.compat.v1.Event.FromString(record.numpy())
        for value in event.summary.value:
            assert value.metadata.plugin_data.plugin_name == "scalars"
            found[value.tag] = float(tf.make_ndarray(value.tensor)), event.step
    assert found["validation/top1"] == (0.75, 20)
    assert found["train/loss"] == (0.5, 20)


@pytest.mark.parametrize("value", [math.pi, 1e-9])
def test_metrics_are_exact_to_seven_digits(tmp_path, value):
    path = tmp_path / "metrics.csv"
    metric_writers.MetricsWriter(path, 0).add({**row(1), "train_loss": value})
    found = metric_writers.MetricsWriter(path, 10).rows[0]["train_loss"]
    assert found == pytest.approx(value, rel=1e-6)
