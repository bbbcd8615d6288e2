"""User authentication: accounts, access tokens (JWT, HS256) and refresh tokens, and an ASGI application of them.

Standard library only. In FastAPI: ``app.mount("/auth", application(AuthService(secret)))``.
"""

from __future__ import annotations

import asyncio
import base64
import hashlib
import hmac
import inspect
import json
import re
import secrets
import threading
import time
from collections.abc import Awaitable, Callable
from dataclasses import asdict, dataclass
from typing import Any

ACCESS_SECONDS = 24 * 3600
REFRESH_SECONDS = 7 * 24 * 3600
LEAST_PASSWORD = 12
LARGEST_BODY = 64 * 1024
EMAIL = re.compile(r"[^@\s]+@[^@\s]+\.[^@\s]+")


class AuthError(Exception):
    """Something that is refused. ``status`` is that of the HTTP response."""

    status = 400


class NameTakenError(AuthError):
    """There is such an account."""

    status = 409


class CredentialsError(AuthError):
    """The e-mail address or the password is wrong; which of them, nobody is told."""

    status = 401


class TokenError(AuthError):
    """A token is forged, damaged, expired, or withdrawn."""

    status = 401


@dataclass(frozen=True)
class Tokens:
    """What a login gives. ``expires_in``: seconds that the access token is good for."""

    access_token: str
    refresh_token: str
    expires_in: int
    token_type: str = "Bearer"


@dataclass(frozen=True)
class Session:
    """Whose refresh token it is, and until when."""

    email: str
    ends: float


class AuthService:
    """Accounts and their tokens, in memory.

    Args:
        secret: signs access tokens; at least 32 bytes.
        now: tells the time, in seconds since 1970.
        scrypt_cost: CPU and memory cost of a password's hash, a power of 2.
    """

    def __init__(self, secret: bytes, now: Callable[[], float] = time.time, scrypt_cost: int = 2**14) -> None:
        if len(secret) < 32:
            raise ValueError("the secret must have at least 32 bytes")
        self._secret = secret
        self._now = now
        self._cost = scrypt_cost
        self._lock = threading.Lock()
        self._passwords: dict[str, tuple[bytes, bytes]] = {}  # salt and hash
        self._sessions: dict[bytes, Session] = {}  # by the hash of the refresh token
        self._nobody = self._hashed(secrets.token_hex())  # so that unknown names take as long as known ones

    def register(self, email: str, password: str) -> None:
        """Make an account. Raises AuthError, NameTakenError."""
        email = email.strip().lower()
        if not EMAIL.fullmatch(email):
            raise AuthError("this is no e-mail address")
        if len(password) < LEAST_PASSWORD:
            raise AuthError(f"a password has at least {LEAST_PASSWORD} characters")
        hashed = self._hashed(password)
        with self._lock:
            if email in self._passwords:
                raise NameTakenError("there is an account with this e-mail address")
            self._passwords[email] = hashed

    def login(self, email: str, password: str) -> Tokens:
        """Return tokens for an account. Raises CredentialsError."""
        email = email.strip().lower()
        salt, known = self._passwords.get(email, self._nobody)
        same = hmac.compare_digest(self._hashed(password, salt)[1], known)
        if not same or email not in self._passwords:
            raise CredentialsError("the e-mail address or the password is wrong")
        return self._tokens(email)

    def authenticate(self, access_token: str) -> str:
        """Return whose access token it is. Raises TokenError."""
        claims = decode(access_token, self._secret)
        if claims.get("exp", 0) <= self._now():
            raise TokenError("the token has expired")
        return str(claims["sub"])

    def refresh(self, refresh_token: str) -> Tokens:
        """Return a new access token for a refresh token. Raises TokenError."""
        with self._lock:
            session = self._sessions.get(_digest(refresh_token))
        if session is None or session.ends <= self._now():
            raise TokenError("the refresh token is not valid")
        return Tokens(self._access_token(session.email), refresh_token, ACCESS_SECONDS)

    def logout(self, refresh_token: str) -> None:
        """Withdraw a refresh token; one that is not known is no error."""
        with self._lock:
            self._sessions.pop(_digest(refresh_token), None)

    def _hashed(self, password: str, salt: bytes | None = None) -> tuple[bytes, bytes]:
        salt = salt or secrets.token_bytes(16)
        room = 256 * self._cost * 8
        return salt, hashlib.scrypt(password.encode(), salt=salt, n=self._cost, r=8, p=1, maxmem=room)

    def _tokens(self, email: str) -> Tokens:
        refresh_token = secrets.token_urlsafe(32)
        with self._lock:
            self._sessions[_digest(refresh_token)] = Session(email, self._now() + REFRESH_SECONDS)
        return Tokens(self._access_token(email), refresh_token, ACCESS_SECONDS)

    def _access_token(self, email: str) -> str:
        now = int(self._now())
        return encode({"sub": email, "iat": now, "exp": now + ACCESS_SECONDS}, self._secret)


# -- JSON Web Tokens

HEADER = {"alg": "HS256", "typ": "JWT"}


def encode(claims: dict[str, Any], secret: bytes) -> str:
    """Return a signed token."""
    signed = f"{_base64(json.dumps(HEADER).encode())}.{_base64(json.dumps(claims).encode())}"
    return f"{signed}.{_base64(_signature(signed, secret))}"


def decode(token: str, secret: bytes) -> dict[str, Any]:
    """Return the claims of a token that was signed with *secret*. Raises TokenError."""
    signed, _, signature = token.rpartition(".")
    try:
        good = hmac.compare_digest(_bytes(signature), _signature(signed, secret))
        header, claims = (json.loads(_bytes(part)) for part in signed.split("."))
    except ValueError:
        raise TokenError("this is no token") from None
    if not good or header != HEADER:  # the header never chooses how it is checked
        raise TokenError("the token is not signed by this service")
    return dict(claims)


def _signature(signed: str, secret: bytes) -> bytes:
    return hmac.digest(secret, signed.encode(), "sha256")


def _base64(data: bytes) -> str:
    return base64.urlsafe_b64encode(data).rstrip(b"=").decode()


def _bytes(text: str) -> bytes:
    return base64.b64decode(text + "=" * (-len(text) % 4), altchars=b"-_", validate=True)


def _digest(refresh_token: str) -> bytes:
    """Return what is kept of a refresh token: who reads the memory cannot use it."""
    return hashlib.sha256(refresh_token.encode()).digest()


# -- ASGI

Receive = Callable[[], Awaitable[dict[str, Any]]]
Send = Callable[[dict[str, Any]], Awaitable[None]]
Post = Callable[..., tuple[int, Any]]


def application(service: AuthService) -> Callable[[dict[str, Any], Receive, Send], Awaitable[None]]:
    """Return an ASGI application: POST /register, /login, /refresh, /logout, and GET /me."""

    def register(email: str, password: str) -> tuple[int, Any]:
        service.register(email, password)
        return 201, {"email": email}

    def login(email: str, password: str) -> tuple[int, Any]:
        return 200, asdict(service.login(email, password))

    def refresh(refresh_token: str) -> tuple[int, Any]:
        return 200, asdict(service.refresh(refresh_token))

    def logout(refresh_token: str) -> tuple[int, Any]:
        service.logout(refresh_token)
        return 200, {}

    posts: dict[str, Post] = {"/register": register, "/login": login, "/refresh": refresh, "/logout": logout}

    async def answer(scope: dict[str, Any], receive: Receive) -> tuple[int, Any]:
        path = scope["path"].removeprefix(scope.get("root_path", ""))
        if (scope["method"], path) == ("GET", "/me"):
            return 200, {"email": service.authenticate(_bearer(scope))}
        if scope["method"] != "POST" or path not in posts:
            return 404, {"error": "there is no such page"}
        fields = await _fields(receive)
        try:
            inspect.signature(posts[path]).bind(**fields)
        except TypeError as error:
            raise AuthError(f"the fields are not right: {error}") from None
        # Hashing takes its time on purpose: in a thread it keeps nobody else waiting.
        return await asyncio.to_thread(posts[path], **fields)

    async def app(scope: dict[str, Any], receive: Receive, send: Send) -> None:
        try:
            status, content = await answer(scope, receive)
        except AuthError as error:
            status, content = error.status, {"error": str(error)}
        headers = [(b"content-type", b"application/json"), (b"cache-control", b"no-store")]
        await send({"type": "http.response.start", "status": status, "headers": headers})
        await send({"type": "http.response.body", "body": json.dumps(content).encode()})

    return app


def _bearer(scope: dict[str, Any]) -> str:
    headers: dict[bytes, bytes] = dict(scope["headers"])
    kind, _, token = headers.get(b"authorization", b"").decode("latin-1").partition(" ")
    if kind.lower() != "bearer":
        raise TokenError("there is no token")
    return token


async def _fields(receive: Receive) -> dict[str, str]:
    body, more = b"", True
    while more:
        event = await receive()
        body += event.get("body", b"")
        more = event.get("more_body", False)
        if len(body) > LARGEST_BODY:
            raise AuthError("the request is too large")
    try:
        fields = json.loads(body)
    except (ValueError, RecursionError):
        raise AuthError("the request is no JSON") from None
    if not isinstance(fields, dict) or not all(isinstance(value, str) for value in fields.values()):
        raise AuthError("the request is no object of texts")
    return fields
