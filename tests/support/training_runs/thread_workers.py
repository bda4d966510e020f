"""Workers as threads of this process, which communicate without TensorFlow."""

import threading

import numpy as np

from training.engine.cluster.workers import Workers


class ThreadWorkers(Workers):
    """Worker of a group; see `run`."""

    def __init__(self, index, shared):
        self.names = [f"worker {i}" for i in range(len(shared["values"]))]
        self.index = index
        self._shared = shared

    def gather(self, *numbers):
        self._shared["values"][self.index] = numbers
        self._shared["barrier"].wait(20)
        found = np.array(self._shared["values"], np.int64)
        self._shared["barrier"].wait(20)
        return found


def run(actions):
    """Calls all actions at once, each with its own worker.

    Returns:
        The result of each action, or the error that it raised.
    """
    shared = {
        "values": [None] * len(actions),
        "barrier": threading.Barrier(len(actions)),
    }
    ends = [None] * len(actions)

    def work(index):
        try:
            ends[index] = actions[index](ThreadWorkers(index, shared))
        except BaseException as error:
            ends[index] = error

    threads = [threading.Thread(target=work, args=(i,)) for i in range(len(actions))]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(60)
    return ends
