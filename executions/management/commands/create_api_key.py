from __future__ import annotations

from argparse import ArgumentParser
from datetime import timedelta
from typing import Any

from django.core.exceptions import ValidationError
from django.core.management.base import BaseCommand, CommandError
from django.utils import timezone

from accounts.models import ApiKey, User

MAX_DAYS = 36_500


class Command(BaseCommand):
    help = "Create an API key for a user and print its text, which is never stored."

    def add_arguments(self, parser: ArgumentParser) -> None:
        parser.add_argument("username")
        parser.add_argument("--name", default="from the command line")
        parser.add_argument("--expires-days", type=int, help="default: never")
        parser.add_argument(
            "--create-user",
            action="store_true",
            help="create the user, without a password, when there is none",
        )
        parser.add_argument(
            "--quiet", action="store_true", help="print the key and nothing else"
        )

    def handle(
        self,
        *args: Any,
        username: str,
        name: str,
        expires_days: int | None,
        create_user: bool,
        quiet: bool,
        **options: Any,
    ) -> str:
        if expires_days is not None and not 1 <= expires_days <= MAX_DAYS:
            raise CommandError("--expires-days must be 1 to 36500 days.")
        user = self._user(username, create_user=create_user)
        expires_at = None
        if expires_days is not None:
            expires_at = timezone.now() + timedelta(days=expires_days)
        _, text = ApiKey.objects.issue(user, name[:100], expires_at=expires_at)
        if not quiet:
            self.stderr.write(f"The key of {username} is shown this once:")
        return text

    def _user(self, username: str, *, create_user: bool) -> User:
        user = User.objects.filter(username=username).first()
        if user is None and create_user:
            user = User(username=username)
            user.set_unusable_password()
            try:
                user.full_clean()
            except ValidationError as error:
                raise CommandError("; ".join(error.messages)) from None
            user.save()
        if user is None:
            raise CommandError(f"There is no user {username} (see --create-user).")
        if not user.is_active:
            raise CommandError(f"The user {username} is not active.")
        return user
