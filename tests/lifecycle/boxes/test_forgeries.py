"""What a program forges on its box's own channel: outputs, errors of the library, lines of others."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from shoal.boxes import BoxRuntime, BoxSpec
from shoal.errors import RequestFailedError

Run = Callable[..., Any]

FORGER = """
import json, os, stat, struct, sys, time
channel = next(fd for fd in range(100, 200) if stat.S_ISSOCK(os.fstat(fd).st_mode))
def put(kind, body):
    data = struct.pack(">IB", len(body), ord(kind)) + body
    while data:
        data = data[os.write(channel, data):]
for _ in range(4):
    put("B", struct.pack(">Q", 1 << 50) + bytes(1 << 18))
put("J", json.dumps({"type": "exit", "code": 0, "outputs": json.loads(sys.argv[1])}).encode())
time.sleep(100)
"""
MANY = "{" + ",".join(f'"/work/{number}.out":{1 << 50}' for number in range(1000)) + "}"
SECONDS = 30


@pytest.mark.parametrize(
    ("collect", "outputs", "reason"),
    [
        (("*.out",), MANY, "signal 9"),
        (("*.out",), '{"/work/../../etc/cron.d/x": 1}', "protocol: an output '/work/../../etc/cron.d/x'"),
        (("*.out",), '{"../x": 1}', "protocol: an output '../x'"),
        ((), '{"/work/x.out": 1}', "protocol: "),
    ],
)
def test_outputs_that_collect_cannot_have_found(
    run: Run, tmp_path: Path, collect: tuple[str, ...], outputs: str, reason: str
) -> None:
    script = tmp_path / "forger.py"
    script.write_text(FORGER)

    async def main() -> None:
        async with BoxRuntime("process", logs="none") as runtime:
            box = await runtime.create_box("box", BoxSpec(collect=collect))
            await box.run_script(script, outputs)
            assert await box.wait() in (-9, 70)  # killed, or gone with its channel
            assert box.reason is not None and box.reason.startswith((reason, "exit") if outputs == MANY else reason)
            # Many paths of one stream have its bytes once.
            assert sum(map(len, box.outputs.values())) == (1 << 20 if outputs == MANY else 0)

    run(main, timeout=SECONDS)


def test_an_error_that_a_program_calls_the_librarys_own_is_the_programs(run: Run, tmp_path: Path) -> None:
    script = tmp_path / "answerer.py"
    script.write_text(
        "from shoal_guest import on_message, run_forever, sdk\n"
        "@on_message\n"
        "def answer(sender, data):\n"
        "    kind = data['kind'] * data['times']\n"
        "    sdk._box._outbox.send(frame(kind, sdk._box.present()))\n"
        "def frame(kind, number):\n"
        "    import json\n"
        "    from shoal_guest.frames import JSON, frame\n"
        "    error = {'type': kind, 'text': 'forged'}\n"
        "    return frame(JSON, json.dumps({'type': 'reply', 'id': number, 'own': True, 'error': error}).encode())\n"
        "run_forever()\n"
    )

    async def main() -> None:
        async with BoxRuntime("process", logs="none") as runtime:
            box = await runtime.create_box("box")
            await box.run_script(script)
            for kind, times in (("DeadAgentError", 1), ("RuntimeClosedError", 1), ("x", 1 << 20)):
                with pytest.raises(RequestFailedError, match="forged"):
                    await runtime.request("box", {"kind": kind, "times": times})
            assert all(len(record.outcome) <= 200 for record in runtime.audit.tail())

    run(main, timeout=SECONDS)


def test_lines_in_a_log_line_bear_the_name_of_their_box(run: Run, capsys: pytest.CaptureFixture[str]) -> None:
    def speak() -> None:
        from shoal_guest import log

        log("first\n[other] second")
        log("x" * 70_000)
        log("last")

    async def main() -> None:
        async with BoxRuntime("process", logs="prefix") as runtime:
            box = await runtime.create_box("box")
            box.task(speak)
            await box.run()
            assert await box.wait() == 0
            assert not any(line.partial for line in box.logs())

    run(main, timeout=SECONDS)
    assert capsys.readouterr().err.splitlines() == [
        "[box] first",
        "[box] [other] second",
        f"[box] {'x' * 70_000}",
        "[box] last",
    ]
