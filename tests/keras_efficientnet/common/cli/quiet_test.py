import os

import pytest

from keras_efficientnet.common.cli.quiet import quiet_stderr


def test_native_output_is_discarded_and_restored(capfd):
    with quiet_stderr():
        os.write(2, b"chatter")
    os.write(2, b"news")
    assert capfd.readouterr().err == "news"


def test_exceptions_propagate(capfd):
    with pytest.raises(KeyError), quiet_stderr():
        raise KeyError("x")
    os.write(2, b"news")
    assert capfd.readouterr().err == "news"
