"""Imports of optional packages, at the time a format needs them."""

from __future__ import annotations

import importlib
import sys
from types import ModuleType

_TELEMETRY = "openvino_telemetry"


def require_package(package: str, extra: str) -> ModuleType:
    """Imports an optional package.

    Args:
        package: Name of the package.
        extra: Extra of this distribution that installs it.

    Raises:
        ImportError: The package is not installed.
    """
    try:
        return importlib.import_module(package)
    except ImportError as error:
        raise ImportError(
            f"{package} must be installed: pip install 'efficientnet-keras[{extra}]'. "
            f"Received: {error}"
        ) from error


def require_openvino() -> ModuleType:
    """Imports OpenVINO without its telemetry.

    OpenVINO sends usage events over the network on import and on conversion. The
    package that sends them is optional, so it is hidden during the import.

    Raises:
        ImportError: The package is not installed.
    """
    hidden = sys.modules.get(_TELEMETRY)
    sys.modules[_TELEMETRY] = None  # type: ignore[assignment]
    try:
        return require_package("openvino", "openvino")
    finally:
        del sys.modules[_TELEMETRY]
        if hidden is not None:
            sys.modules[_TELEMETRY] = hidden
