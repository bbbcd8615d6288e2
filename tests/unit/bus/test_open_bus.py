from __future__ import annotations

import subprocess
import sys

import pytest

from shoal.bus import open_bus
from shoal.bus.local import LocalBus
from shoal.errors import ConfigError
from shoal.kernel.clock import RealClock


def test_the_local_bus_opens() -> None:
    assert isinstance(open_bus("local://", clock=RealClock()), LocalBus)


@pytest.mark.parametrize(
    ("url", "text"),
    [
        ("locl://", r"'locl://' names no known bus; did you mean 'local'\?; allowed: local://"),
        ("local", "allowed: local://"),
        ("", "allowed: local://"),
        ("local://x", "stands alone"),
    ],
)
def test_another_url_is_refused_by_name(url: str, text: str) -> None:
    with pytest.raises(ConfigError, match=text):
        open_bus(url, clock=RealClock())


@pytest.mark.parametrize(
    ("url", "library", "extra"), [("nats://x", "nats", "nats"), ("postgresql://x/y", "asyncpg", "postgres")]
)
def test_a_bus_without_its_library_names_the_extra(url: str, library: str, extra: str) -> None:
    code = f"""
import sys
sys.modules[{library!r}] = None
from shoal.bus import open_bus
from shoal.errors import MissingExtraError
from shoal.kernel.clock import RealClock
try:
    open_bus({url!r}, clock=RealClock())
except MissingExtraError as error:
    sys.exit(error.extra != {extra!r})
"""
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0


def test_the_package_loads_no_backend() -> None:
    code = "import sys, shoal.bus; sys.exit(bool({'shoal.bus.local', 'nats', 'asyncpg'} & set(sys.modules)))"
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0
