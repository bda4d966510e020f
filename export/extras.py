"""Optional packages, imported when a format needs them."""

from __future__ import annotations

import importlib
import sys
from types import ModuleType

_TELEMETRY = "openvino_telemetry"


def require_package(package: str, extra: str) -> ModuleType:
    """Imports an optional package.

    Args:
        package: Its name.
        extra: Which of our extras installs it.

    Raises:
        ImportError: It is not installed.
    """
    try:
        return importlib.import_module(package)
    except ImportError as error:
        raise ImportError(
            f"{package} must be installed: pip install 'efficientnet-keras[{extra}]'. "
            f"Received: {error}"
        ) from error


def require_openvino() -> ModuleType:
    """Imports OpenVINO so that it does not report its use to anybody.

    On import and on conversion it would send events over the network, were it not for
    the one package that it can do without.

    Raises:
        ImportError: It is not installed.
    """
    hidden = sys.modules.get(_TELEMETRY)
    sys.modules[_TELEMETRY] = None  # type: ignore[assignment]
    try:
        return require_package("openvino", "openvino")
    finally:
        del sys.modules[_TELEMETRY]
        if hidden is not None:
            sys.modules[_TELEMETRY] = hidden
