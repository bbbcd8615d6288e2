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
        ("postgresql://x", "postgresql:// is not built in this version"),
        ("nats://x", "nats:// is not built in this version"),
        ("locl://", r"'locl://' names no known bus; did you mean 'local'\?; allowed: local://"),
        ("local", "allowed: local://"),
        ("", "allowed: local://"),
        ("local://x", "stands alone"),
    ],
)
def test_another_url_is_refused_by_name(url: str, text: str) -> None:
    with pytest.raises(ConfigError, match=text):
        open_bus(url, clock=RealClock())


def test_the_package_loads_no_backend() -> None:
    code = "import sys, shoal.bus; sys.exit('shoal.bus.local' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0
