"""Tests of the authentication service, with a clock that they hold in their hands."""

from __future__ import annotations

import asyncio
import base64
import json
import unittest
from typing import Any

import auth_api
from auth_api import AuthError, AuthService, CredentialsError, NameTakenError, TokenError, application

EMAIL, PASSWORD = "ada@example.org", "correct horse battery"


class Clock:
    """Time that passes when it is told to."""

    def __init__(self) -> None:
        self.seconds = 1_700_000_000.0

    def __call__(self) -> float:
        return self.seconds

    def wait(self, seconds: float) -> None:
        self.seconds += seconds


class AuthCase(unittest.TestCase):
    """A service with one account."""

    def setUp(self) -> None:
        self.clock = Clock()
        self.service = AuthService(b"s" * 32, self.clock, scrypt_cost=16)
        self.service.register(EMAIL, PASSWORD)


class AccountTests(AuthCase):
    def test_login_gives_a_token_of_the_account(self) -> None:
        tokens = self.service.login("  ADA@example.org ", PASSWORD)
        self.assertEqual(self.service.authenticate(tokens.access_token), EMAIL)

    def test_the_password_is_not_kept(self) -> None:
        salt, hashed = self.service._passwords[EMAIL]
        self.assertEqual((len(salt), len(hashed)), (16, 64))
        self.assertNotIn(PASSWORD.encode(), hashed)

    def test_equal_passwords_have_different_hashes(self) -> None:
        self.service.register("bob@example.org", PASSWORD)
        self.assertNotEqual(self.service._passwords[EMAIL], self.service._passwords["bob@example.org"])

    def test_what_cannot_be_registered(self) -> None:
        for email, password in (("ada", PASSWORD), ("ada@example.org", "short")):
            with self.assertRaises(AuthError):
                self.service.register(email, password)
        with self.assertRaises(NameTakenError):
            self.service.register("Ada@Example.org", PASSWORD)

    def test_a_wrong_password_and_an_unknown_name_look_the_same(self) -> None:
        said = set()
        for email, password in ((EMAIL, "wrong horse battery"), ("eve@example.org", PASSWORD)):
            with self.assertRaises(CredentialsError) as raised:
                self.service.login(email, password)
            said.add(str(raised.exception))
        self.assertEqual(len(said), 1)

    def test_a_short_secret_is_refused(self) -> None:
        with self.assertRaises(ValueError):
            AuthService(b"short")


class TokenTests(AuthCase):
    def test_an_access_token_expires(self) -> None:
        token = self.service.login(EMAIL, PASSWORD).access_token
        self.clock.wait(auth_api.ACCESS_SECONDS)
        with self.assertRaises(TokenError):
            self.service.authenticate(token)

    def test_a_changed_token_is_refused(self) -> None:
        header, claims, signature = self.service.login(EMAIL, PASSWORD).access_token.split(".")
        other = auth_api.encode({"sub": "eve@example.org", "exp": 2e9}, b"t" * 32).split(".")[1]
        for token in (f"{header}.{other}.{signature}", f"{header}.{claims}", "no token", ""):
            with self.assertRaises(TokenError):
                self.service.authenticate(token)

    def test_a_token_cannot_choose_how_it_is_checked(self) -> None:
        claims = self.service.login(EMAIL, PASSWORD).access_token.split(".")[1]
        unsigned = base64.urlsafe_b64encode(b'{"alg": "none"}').rstrip(b"=").decode()
        with self.assertRaises(TokenError):
            self.service.authenticate(f"{unsigned}.{claims}.")

    def test_a_refresh_token_gives_a_new_access_token(self) -> None:
        tokens = self.service.login(EMAIL, PASSWORD)
        self.clock.wait(auth_api.ACCESS_SECONDS)
        fresh = self.service.refresh(tokens.refresh_token)
        self.assertEqual(self.service.authenticate(fresh.access_token), EMAIL)

    def test_a_refresh_token_ends_after_seven_days(self) -> None:
        token = self.service.login(EMAIL, PASSWORD).refresh_token
        self.clock.wait(7 * 24 * 3600)
        with self.assertRaises(TokenError):
            self.service.refresh(token)

    def test_a_logout_ends_the_refresh_token(self) -> None:
        token = self.service.login(EMAIL, PASSWORD).refresh_token
        self.service.logout(token)
        with self.assertRaises(TokenError):
            self.service.refresh(token)


class HttpTests(AuthCase):
    """The same over ASGI."""

    def ask(self, method: str, path: str, fields: Any = None, token: str = "") -> tuple[int, Any]:
        sent: list[dict[str, Any]] = []

        async def receive() -> dict[str, Any]:
            return {"type": "http.request", "body": json.dumps(fields).encode()}

        async def send(message: dict[str, Any]) -> None:
            sent.append(message)

        headers = [(b"authorization", f"Bearer {token}".encode())] if token else []
        scope = {"type": "http", "method": method, "path": path, "headers": headers, "client": ("192.0.2.7", 4711)}
        asyncio.run(application(self.service)(scope, receive, send))
        return sent[0]["status"], json.loads(sent[1]["body"])

    def test_an_account_over_http(self) -> None:
        account = {"email": "bob@example.org", "password": PASSWORD}
        self.assertEqual(self.ask("POST", "/register", account)[0], 201)
        status, tokens = self.ask("POST", "/login", account)
        self.assertEqual((status, tokens["token_type"]), (200, "Bearer"))
        self.assertEqual(self.ask("GET", "/me", token=tokens["access_token"]), (200, {"email": "bob@example.org"}))
        status, tokens = self.ask("POST", "/refresh", {"refresh_token": tokens["refresh_token"]})
        self.assertEqual(status, 200)
        self.assertEqual(self.ask("POST", "/logout", {"refresh_token": tokens["refresh_token"]}), (200, {}))

    def test_what_http_refuses(self) -> None:
        wrong = {"email": EMAIL, "password": "wrong horse battery"}
        asked = [
            (404, ("GET", "/login")),
            (401, ("GET", "/me")),
            (401, ("POST", "/login", wrong)),
            (409, ("POST", "/register", {"email": EMAIL, "password": PASSWORD})),
            (400, ("POST", "/login", {"email": EMAIL})),
            (400, ("POST", "/login", ["no", "object"])),
            (400, ("POST", "/login", {"email": "a" * auth_api.LARGEST_BODY})),
        ]
        for status, request in asked:
            self.assertEqual(self.ask(*request)[0], status, request[:2])
