"""Keys of NATS and what they sign: an operator, its account, and users of that, as ``nsc`` would make them."""

from __future__ import annotations

import base64
import json
import os
from pathlib import Path
from typing import Any

import nkeys

__all__ = ["Key", "Operator", "user_key"]


class Key:
    """A pair of keys. ``public`` is a name, ``seed`` a secret."""

    def __init__(self, prefix: int) -> None:
        self.seed: str = nkeys.encode_seed(os.urandom(32), prefix).decode()
        self._pair = nkeys.from_seed(bytearray(self.seed.encode()))
        self.public: str = self._pair.public_key.decode()

    def token(self, subject: str, kind: str, **claims: Any) -> str:
        """Return a JWT in which this key says something about *subject*."""
        head = {"typ": "JWT", "alg": "ed25519-nkey"}
        body = {"jti": os.urandom(8).hex(), "iat": 1, "iss": self.public, "name": kind, "sub": subject}
        text = f"{_encoded(head)}.{_encoded(body | {'nats': {**claims, 'type': kind, 'version': 2}})}"
        return f"{text}.{_base64(self._pair.sign(text.encode()))}"


class Operator:
    """An operator with one account."""

    def __init__(self) -> None:
        self._operator, self._account = Key(nkeys.PREFIX_BYTE_OPERATOR), Key(nkeys.PREFIX_BYTE_ACCOUNT)
        limits = dict.fromkeys(("subs", "data", "payload", "imports", "exports", "conn", "leaf"), -1)
        account = self._operator.token(self._account.public, "account", limits=limits | {"wildcards": True})
        self.config = (
            f'operator: "{self._operator.token(self._operator.public, "operator")}"\n'
            f'resolver: MEMORY\nresolver_preload {{ {self._account.public}: "{account}" }}\n'
        )
        """The configuration of a server that belongs to it."""

    def creds(self, file: Path) -> Key:
        """Write a creds file for a new user, and return the user's key."""
        user = user_key()
        jwt = self._account.token(user.public, "user", subs=-1, data=-1, payload=-1)
        file.write_text(
            f"-----BEGIN NATS USER JWT-----\n{jwt}\n------END NATS USER JWT------\n\n"
            f"-----BEGIN USER NKEY SEED-----\n{user.seed}\n------END USER NKEY SEED------\n"
        )
        return user


def user_key() -> Key:
    """Return the key of a user."""
    return Key(nkeys.PREFIX_BYTE_USER)


def _encoded(value: Any) -> str:
    return _base64(json.dumps(value).encode())


def _base64(data: bytes) -> str:
    return base64.urlsafe_b64encode(data).rstrip(b"=").decode()
