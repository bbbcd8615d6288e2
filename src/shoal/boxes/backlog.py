"""What a box has been sent and has not read."""

from __future__ import annotations

from shoal.boxes.guest.channel import Channel

__all__ = ["Backlog"]


class Backlog:
    """What a box has been sent and has not read: bounded, so that answers to it do not pile up on the host."""

    def __init__(self, channel: Channel, most: int) -> None:
        """*most* is in bytes; whoever has read everything is sent anything."""
        self._channel = channel
        self._most = most
        self._deaf = False

    def has_room(self, size: int) -> bool:
        """Tell whether *size* bytes more may be sent."""
        unsent = self._channel.unsent
        return not unsent or unsent + size <= self._most

    @property
    def deaf(self) -> bool:
        """Whether it was waited for in vain, and has not read half of it since."""
        self._deaf = self._deaf and self._channel.unsent > self._most // 2
        return self._deaf

    def give_up(self) -> None:
        """Learn that it was waited for in vain."""
        self._deaf = True
