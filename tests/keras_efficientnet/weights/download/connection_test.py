import io
import time
import urllib.request

import pytest

from keras_efficientnet.weights.download import connection
from tests.support.faulty_server import Answer, serving


def test_rejects_redirects_from_https_to_http():
    handler = connection._SafeRedirects()
    request = urllib.request.Request("https://host/a")
    options = (request, io.BytesIO(), 302, "Found", {})
    assert handler.redirect_request(*options, "https://other/b")
    with pytest.raises(ValueError, match="https://host/a leads to http://other/b"):
        handler.redirect_request(*options, "http://other/b")


@pytest.mark.parametrize("target", ["ftp://host/b", "file:///etc/passwd", "data:,b"])
@pytest.mark.parametrize("scheme", ["http", "https"])
def test_rejects_redirects_to_other_schemes(scheme, target):
    handler = connection._SafeRedirects()
    request = urllib.request.Request(f"{scheme}://host/a")
    with pytest.raises(ValueError, match=f"host/a leads to {target}, which is not"):
        handler.redirect_request(request, io.BytesIO(), 302, "Found", {}, target)


@pytest.mark.parametrize("least", [1000, 1])
def test_closes_a_connection_that_is_too_slow(least):
    """The server sends a byte every 0.02 s: 15 in 0.3 s."""
    content = bytes(60)
    with serving(Answer(content, drips=True)) as server:
        request = urllib.request.Request(server.url())
        watchdog = connection.Watchdog(0.3, least)
        begun = time.monotonic()

        def read():
            with watchdog, connection.open_url(request, 5.0, watchdog) as response:
                got = b""
                while chunk := response.read1(10):
                    got += chunk
                    watchdog.count += len(chunk)
                return got

        if least == 1:
            assert read() == content
            return
        with pytest.raises(
            TimeoutError, match=r"Fewer than 1000 bytes arrived in 0\.3 s"
        ):
            read()
        assert time.monotonic() - begun < 5


def test_closes_a_connection_whose_headers_are_too_slow():
    with serving(Answer(b"", drips_head=True)) as server:
        request = urllib.request.Request(server.url())
        begun = time.monotonic()
        with (
            pytest.raises(TimeoutError, match="Fewer than 1000 bytes"),
            connection.Watchdog(0.3, 1000) as watchdog,
        ):
            connection.open_url(request, 5.0, watchdog)
        assert time.monotonic() - begun < 5
