"""An agent in a child. It needs ``shoal`` and ``msgspec`` there, unlike ``guest/``."""
