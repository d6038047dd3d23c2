"""Forms about an account and its API keys."""

from __future__ import annotations

from datetime import datetime, timedelta
from typing import Any

from django import forms
from django.contrib.auth.forms import AuthenticationForm
from django.utils import timezone

LIFETIMES_DAYS = (
    ("", "Never"),
    ("30", "In 30 days"),
    ("90", "In 90 days"),
    ("365", "In a year"),
)


class LogInForm(AuthenticationForm):
    """Django's own, with the attributes that password managers look for."""

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self.fields["username"].widget.attrs.update({"autocomplete": "username"})


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
