"""What must work before anything else."""

from __future__ import annotations

import unittest

from auth_api import AuthService, CredentialsError, TokenError

EMAIL, PASSWORD = "ada@example.org", "correct horse battery"


class FirstTests(unittest.TestCase):
    """An account, from its begin to its tokens."""

    def setUp(self) -> None:
        self.service = AuthService(b"s" * 32, scrypt_cost=16)
        self.service.register(EMAIL, PASSWORD)

    def test_login_gives_a_token_of_the_account(self) -> None:
        tokens = self.service.login(EMAIL, PASSWORD)
        self.assertEqual(self.service.authenticate(tokens.access_token), EMAIL)

    def test_a_wrong_password_is_refused(self) -> None:
        with self.assertRaises(CredentialsError):
            self.service.login(EMAIL, "wrong horse battery")

    def test_refresh_gives_a_token(self) -> None:
        tokens = self.service.refresh(self.service.login(EMAIL, PASSWORD).refresh_token)
        self.assertEqual(self.service.authenticate(tokens.access_token), EMAIL)

    def test_a_forged_token_is_refused(self) -> None:
        with self.assertRaises(TokenError):
            self.service.authenticate("forged")
