"""Reading what agents printed (``keeping.py``), from any process, while it is written and afterwards."""

from __future__ import annotations

from collections.abc import AsyncIterator
from pathlib import Path

import msgspec

from shoal.boxes.keeping import KeptLine, numbers_of, piece
from shoal.kernel.ports import Clock

__all__ = ["OutputReader", "kept_lines"]

_LOOK_SECONDS = 0.1
_decode = msgspec.json.Decoder(KeptLine).decode


def kept_lines(folder: Path, stream: str | None = None, tail: int | None = None) -> list[KeptLine]:
    """Return the last *tail* lines (None: all that are kept) of *stream* (None: of both), oldest first."""
    return OutputReader(folder, stream).last(tail)


class OutputReader:
    """Reads the pieces of one agent one after the other, each line once."""

    def __init__(self, folder: Path, stream: str | None = None) -> None:
        """Nothing is read yet.

        Args:
            folder: the agent's own; it need not be there.
            stream: stdout or stderr, None for both.
        """
        self._folder = folder
        self._stream = stream
        self._number = 0
        self._offset = 0
        self.lost = False  # pieces were forgotten before they could be read

    def last(self, tail: int | None = None) -> list[KeptLine]:
        """Return the last *tail* lines of those that have not been read; all count as read then."""
        found = self.read()
        self.lost = False
        return found if tail is None else found[-tail:] if tail > 0 else []

    def read(self) -> list[KeptLine]:
        """Return the whole lines that have come since the last call."""
        found: list[KeptLine] = []
        while True:
            # Looked at before the piece is read: when there is a newer one, nothing more comes into this one.
            numbers = [number for number in numbers_of(self._folder) if number >= self._number]
            if self._number not in numbers:
                if not numbers:
                    return found
                self.lost = self.lost or self._number > 0
                self._number, self._offset = numbers[0], 0
            found += self._rest_of_piece()
            if numbers[-1] == self._number:
                return found
            newer = next(number for number in numbers if number > self._number)
            self.lost = self.lost or newer != self._number + 1
            self._number, self._offset = newer, 0

    def _rest_of_piece(self) -> list[KeptLine]:
        try:
            with open(piece(self._folder, self._number), "rb") as file:
                file.seek(self._offset)
                data = file.read()
        except FileNotFoundError:  # forgotten just now
            self.lost = True
            return []
        whole = data[: data.rfind(b"\n") + 1]
        self._offset += len(whole)
        lines = [line for text in whole.splitlines() if (line := _line(text)) is not None]
        return lines if self._stream is None else [line for line in lines if line.stream == self._stream]

    async def follow(self, clock: Clock) -> AsyncIterator[KeptLine]:
        """Yield each line that comes, also of later lives of the agent, without end; ``lost`` may be looked at between."""
        while True:
            for line in self.read():
                yield line
            await clock.sleep(_LOOK_SECONDS)


def _line(text: bytes) -> KeptLine | None:
    try:
        return _decode(text)
    except msgspec.MsgspecError:  # whoever wrote it was killed half-way
        return None
