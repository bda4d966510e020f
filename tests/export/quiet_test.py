import os

import pytest

from export.quiet import quiet_stderr


def test_native_output_is_discarded_and_comes_back(capfd):
    with quiet_stderr():
        os.write(2, b"chatter")
    os.write(2, b"news")
    assert capfd.readouterr().err == "news"


def test_exceptions_pass(capfd):
    with pytest.raises(KeyError), quiet_stderr():
        raise KeyError("x")
    os.write(2, b"news")
    assert capfd.readouterr().err == "news"
