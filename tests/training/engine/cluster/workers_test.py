import errno
import time

import pytest
import tensorflow as tf

from tests.support.training_runs import thread_workers
from training.engine import distribution
from training.engine.cluster.rendezvous import WorkerLostError
from training.engine.cluster.workers import Workers, explain_loss
from training.engine.preemption import Interrupted


def fail(error):
    def action():
        raise error

    return action


def test_texts_of_any_length_are_gathered():
    texts = ["", "é" * 300, "x"]
    ends = thread_workers.run([lambda w, t=t: w.gather_text(t) for t in texts])
    assert ends == [texts] * 3
    assert thread_workers.run([lambda w: w.gather_text("")] * 2) == [["", ""]] * 2


def test_others_wait_until_the_chief_has_written(tmp_path):
    file = tmp_path / "file"

    def write():
        time.sleep(0.5)
        file.write_text("written")

    def work(workers):
        workers.by_chief(write)
        return file.read_text()

    assert thread_workers.run([work, work, work]) == ["written"] * 3


def test_together_returns_each_worker_s_own_result():
    ends = thread_workers.run([lambda w: w.together(lambda: w.index)] * 3)
    assert ends == [0, 1, 2]


@pytest.mark.parametrize(
    ("error", "kind"),
    [
        (ValueError("`data` must exist"), ValueError),
        (OSError(errno.ENOSPC, "No space left"), OSError),
        (OSError("no number"), OSError),
        (FloatingPointError("nan"), FloatingPointError),
        (ImportError("no module"), ImportError),
        (Interrupted("SIGTERM"), Interrupted),
        (WorkerLostError("gone"), WorkerLostError),
        (KeyError("a mistake of ours"), WorkerLostError),
    ],
)
def test_error_on_one_worker_is_raised_on_all(error, kind):
    actions = [lambda: None, fail(error), lambda: None]
    ends = thread_workers.run([lambda w: w.together(actions[w.index])] * 3)
    assert ends[1] is error
    for end in (ends[0], ends[2]):
        assert type(end) is kind
        assert "worker 1: " in str(end)
        assert str(getattr(error, "strerror", None) or error) in str(end)
        assert getattr(end, "errno", None) == getattr(error, "errno", None)


def test_file_error_of_the_chief_is_raised_on_all():
    error = OSError(errno.EROFS, "Read-only file system")
    ends = thread_workers.run([lambda w: w.by_chief(fail(error))] * 2)
    assert ends[0] is error
    assert str(ends[1]) == "[Errno 30] worker 0: Read-only file system"


def test_differences_are_named_with_their_workers():
    facts = [{"a": "1", "b": "2"}, {"a": "1", "b": "3"}, {"a": "1"}]
    ends = thread_workers.run([lambda w: w.check_equal("sizes", facts[w.index])] * 3)
    message = (
        "All workers must have the same sizes. Received: b is 3 on worker 1 and 2 on "
        "worker 0; b is None on worker 2 and 2 on worker 0"
    )
    assert [str(end) for end in ends] == [message] * 3
    assert thread_workers.run([lambda w: w.check_equal("sizes", facts[0])] * 2) == [
        None,
        None,
    ]


def test_long_lists_of_differences_are_shortened():
    def work(workers):
        workers.check_equal("fields", {f"f{i}": str(workers.index) for i in range(9)})

    (end, _) = thread_workers.run([work, work])
    assert str(end).endswith("f4 is 1 on worker 1 and 0 on worker 0; 4 more")


def test_single_worker_passes_all_checks():
    workers = Workers(distribution.make_strategy("one_device"))
    assert (workers.count, workers.index, workers.is_chief) == (1, 0, True)
    assert workers.gather(3, 4).tolist() == [[3, 4]]
    assert workers.gather_text("a") == ["a"]
    workers.wait()
    assert workers.together(lambda: 5) == 5
    workers.check_equal("facts", {"a": "1"})


def test_errors_about_lost_workers_are_distinguished_from_others():
    def unavailable(text):
        return tf.errors.UnavailableError(None, None, text)

    # As TensorFlow 2.21 words it.
    text = (
        "Collective ops is aborted by: Error reported from /job:worker/task:1: The "
        "following tasks are unhealthy (stopped sending heartbeats):\n"
        "/job:worker/replica:0/task:1"
    )
    assert explain_loss(unavailable(text)) == "Lost contact with worker 1"
    text = "Collective ops is aborted by: Socket closed"
    assert explain_loss(unavailable(text)) == "Lost contact with a worker"
    assert explain_loss(unavailable("no such bucket")) is None
    other = tf.errors.InvalidArgumentError(None, None, "Collective shapes differ")
    assert explain_loss(other) is None
