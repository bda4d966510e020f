import time

from benchmarks.batch import stages


def test_the_fastest_round_counts_per_image():
    waits = iter([0.06, 0.02, 0.06])
    found = stages.time_ms(lambda: time.sleep(next(waits)), 4)
    assert 5 <= found < 12
