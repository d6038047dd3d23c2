"""Forms about an account and its API keys."""

from __future__ import annotations

from datetime import datetime, timedelta
from typing import Any

from django import forms
from django.contrib.admin.forms import AdminAuthenticationForm
from django.contrib.auth.forms import AuthenticationForm
from django.core.exceptions import ValidationError
from django.utils import timezone

from accounts import guesses

LIFETIMES_DAYS = (
    ("", "Never"),
    ("30", "In 30 days"),
    ("90", "In 90 days"),
    ("365", "In a year"),
)


class LogInForm(AuthenticationForm):
    """Django's own, which stops listening after too many wrong passwords."""

    def clean(self) -> dict[str, Any]:
        if self.request is None:
            return super().clean()
        username = self.cleaned_data.get("username") or ""
        if guesses.are_too_many(self.request, username):
            minutes = guesses.WINDOW_S // 60
            raise ValidationError(
                f"Too many wrong passwords. Please try again in {minutes} minutes."
            )
        try:
            cleaned = super().clean()
        except ValidationError:
            guesses.count(self.request, username)
            raise
        guesses.forget(self.request, username)
        return cleaned


class AdminLogInForm(LogInForm, AdminAuthenticationForm):
    """The same for the admin, which lets only members of staff in."""


class ApiKeyForm(forms.Form):
    name = forms.CharField(
        max_length=100,
        widget=forms.TextInput(
            {"placeholder": "What it is for", "autocomplete": "off"}
        ),
    )
    lifetime = forms.ChoiceField(
        label="Expires", choices=LIFETIMES_DAYS, required=False
    )

    def expires_at(self) -> datetime | None:
        """Return when the key ends, or None for never."""
        days = self.cleaned_data["lifetime"]
        return timezone.now() + timedelta(days=int(days)) if days else None
