"""HTTP connections with secure redirects and a minimum transfer rate."""

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
    """Sends a request, follows redirects, and returns the response.

    Args:
        request: Request for an "https:", "http:" or "file:" URL.
        timeout: Time limit to connect, and to receive each next byte, seconds.
        watchdog: Started watchdog, which will watch the connection.

    Raises:
        OSError: The request failed.
        ValueError: A redirect leads to a less secure URL, or away from HTTP.
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
    """Context manager that closes a connection which receives too few bytes.

    The timeout of a socket restarts with each byte, so a server that sends its headers
    or content byte by byte could stall a download forever.

    Args:
        seconds: Time in which `least` bytes must arrive; it can take up to twice as
            long until the connection is closed.
        least: Minimum number of bytes.

    Attributes:
        count: Number of bytes received so far.
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
        """Raises TimeoutError if the watchdog has closed the connection.

        Call it where a closed connection could be mistaken for the end of the content.
        """
        if self._has_hung_up:
            raise TimeoutError(
                f"Fewer than {self._least} bytes arrived in {self._seconds:g} s"
            )

    def follow(self, connection: socket.socket) -> None:
        """Starts watching another connection."""
        self._socket = connection

    def _watch(self) -> None:
        before: tuple[socket.socket | None, int] = (None, 0)
        while not self._ended.wait(self._seconds):
            followed, count = self._socket, self.count
            is_same = followed is before[0]
            if followed and is_same and count - before[1] < self._least:
                self._has_hung_up = True
                with contextlib.suppress(OSError):
                    # Not SSLSocket.shutdown, which crashes a reading thread.
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
    """Returns a connection class whose connections a watchdog watches."""

    class Connection(kind):
        def getresponse(self) -> Any:
            watchdog.follow(self.sock)
            return super().getresponse()

        def _tunnel(self) -> None:  # through a proxy, before TLS begins
            watchdog.follow(self.sock)
            super()._tunnel()

    return Connection
