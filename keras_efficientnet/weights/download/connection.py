"""HTTP connections: redirects that stay secure, and an end to dripping servers."""

from __future__ import annotations

import contextlib
import http.client
import socket
import threading
import urllib.request
from typing import Any


def open_url(
    request: urllib.request.Request, timeout: float, watchdog: Watchdog
) -> Any:
    """Sends a request, follows redirects, and returns the answer.

    Args:
        request: Request for an "https:", "http:" or "file:" URL.
        timeout: Time to connect, and to wait for any byte, seconds.
        watchdog: Started; follows the connection.

    Raises:
        OSError: There is no good answer.
        ValueError: A redirect leads to what is less secure, or not to HTTP.
    """
    handlers = _SafeRedirects, _WatchedHTTP(watchdog), _WatchedHTTPS(watchdog)
    response = urllib.request.build_opener(*handlers).open(request, timeout=timeout)
    try:
        watchdog.check()
    except TimeoutError:
        response.close()
        raise
    return response


class _SafeRedirects(urllib.request.HTTPRedirectHandler):
    def redirect_request(self, *arguments: Any) -> urllib.request.Request | None:
        old, answer, new = arguments[0].full_url, arguments[1], arguments[-1]
        allowed = ("https:", "http:") if old.startswith("http:") else ("https:",)
        if not new.startswith(allowed):
            answer.close()
            raise ValueError(f"{old} leads to {new}, which is not secure")
        return super().redirect_request(*arguments)


class Watchdog:
    """Hangs up a connection on which too few bytes come. A context manager.

    The time-out of a socket begins anew with each byte, so a server that sends its
    headers or its content byte by byte would hold a download for ever.

    Args:
        seconds: Time for `least` bytes to come; up to twice as long passes before the
            connection is hung up.
        least: Fewest bytes.

    Attributes:
        count: Number of bytes that have come so far.
    """

    def __init__(self, seconds: float, least: int) -> None:
        self.count = 0
        self._seconds = seconds
        self._least = least
        self._socket: socket.socket | None = None
        self._has_hung_up = False
        self._ended = threading.Event()
        self._thread = threading.Thread(target=self._watch, daemon=True)

    def __enter__(self) -> Watchdog:
        self._thread.start()
        return self

    def __exit__(self, *exception: Any) -> None:
        self._ended.set()
        self._thread.join()
        self.check()

    def check(self) -> None:
        """Raises TimeoutError if the connection has been hung up.

        Call it where the end of a connection could be mistaken for the end of a text.
        """
        if self._has_hung_up:
            raise TimeoutError(
                f"Fewer than {self._least} bytes came in {self._seconds:g} s"
            )

    def follow(self, connection: socket.socket) -> None:
        """Watches another connection from now on."""
        self._socket = connection

    def _watch(self) -> None:
        before: tuple[socket.socket | None, int] = (None, 0)
        while not self._ended.wait(self._seconds):
            followed, count = self._socket, self.count
            is_same = followed is before[0]
            if followed and is_same and count - before[1] < self._least:
                self._has_hung_up = True
                with contextlib.suppress(OSError):
                    # Not that of SSLSocket, which a reading thread does not survive.
                    socket.socket.shutdown(followed, socket.SHUT_RDWR)
                return
            before = followed, count


class _WatchedHTTP(urllib.request.HTTPHandler):
    def __init__(self, watchdog: Watchdog) -> None:
        super().__init__()
        self._watchdog = watchdog

    def http_open(self, request: urllib.request.Request) -> Any:
        return self.do_open(
            _watched(http.client.HTTPConnection, self._watchdog), request
        )


class _WatchedHTTPS(urllib.request.HTTPSHandler):
    def __init__(self, watchdog: Watchdog) -> None:
        super().__init__()
        self._watchdog = watchdog

    def https_open(self, request: urllib.request.Request) -> Any:
        kind = _watched(http.client.HTTPSConnection, self._watchdog)
        return self.do_open(kind, request)


def _watched(kind: Any, watchdog: Watchdog) -> Any:
    """Returns a class of connections that a watchdog follows."""

    class Connection(kind):
        def getresponse(self) -> Any:
            watchdog.follow(self.sock)
            return super().getresponse()

        def _tunnel(self) -> None:  # through a proxy, before TLS begins
            watchdog.follow(self.sock)
            super()._tunnel()

    return Connection
