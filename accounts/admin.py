"""Users and API keys in the admin. The text of a key is shown once, when it is made."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from django.contrib import admin, messages
from django.contrib.auth.admin import UserAdmin
from django.db.models import QuerySet
from django.http import HttpRequest, HttpResponse
from django.template.response import TemplateResponse
from django.utils import timezone

from accounts.forms import AdminLogInForm
from accounts.models import ApiKey, User

if TYPE_CHECKING:
    ApiKeyAdminBase = admin.ModelAdmin[ApiKey]
else:
    ApiKeyAdminBase = admin.ModelAdmin

admin.site.register(User, UserAdmin)
admin.site.login_form = AdminLogInForm

# An attribute of the request, which error reports do not print as they print META.
_NEW_KEY_TEXT = "_new_api_key_text"


@admin.register(ApiKey)
class ApiKeyAdmin(ApiKeyAdminBase):
    list_display = ("name", "hint", "user", "created_at", "expires_at", "is_usable")
    list_filter = (
        ("revoked_at", admin.EmptyFieldListFilter),
        "created_at",
        "expires_at",
    )
    list_select_related = ("user",)
    search_fields = ("name", "hint", "user__username")
    autocomplete_fields = ("user",)
    actions = ("revoke",)
    # Never the digest.
    fields = ("user", "name", "expires_at")

    def get_fields(self, request: HttpRequest, obj: ApiKey | None = None) -> Any:
        shown = ("hint", "created_at", "revoked_at")
        return (*self.fields, *shown) if obj else self.fields

    def get_readonly_fields(
        self, request: HttpRequest, obj: ApiKey | None = None
    ) -> tuple[str, ...]:
        return ("user", "hint", "created_at", "revoked_at") if obj else ()

    @admin.display(description="usable", boolean=True)
    def is_usable(self, key: ApiKey) -> bool:
        is_expired = key.expires_at is not None and key.expires_at <= timezone.now()
        return key.revoked_at is None and not is_expired and key.user.is_active

    def save_model(
        self, request: HttpRequest, obj: ApiKey, form: Any, change: bool
    ) -> None:
        if change:
            obj.save(update_fields=form.changed_data)
            return
        key, text = ApiKey.objects.issue(obj.user, obj.name, expires_at=obj.expires_at)
        obj.__dict__.update(key.__dict__)
        vars(request)[_NEW_KEY_TEXT] = text

    def response_add(
        self, request: HttpRequest, obj: ApiKey, post_url_continue: str | None = None
    ) -> HttpResponse:
        """Show the text instead of redirecting: nothing may keep it for later."""
        context = {
            **self.admin_site.each_context(request),
            "title": "The new API key",
            "opts": self.opts,
            "key": obj,
            "text": vars(request).pop(_NEW_KEY_TEXT),
            "media": self.media,
        }
        response = TemplateResponse(
            request, "admin/accounts/apikey/created.html", context
        )
        response["Cache-Control"] = "no-store"
        return response

    @admin.action(description="Revoke the selected keys", permissions=["change"])
    def revoke(self, request: HttpRequest, queryset: QuerySet[ApiKey]) -> None:
        revoked = queryset.filter(revoked_at=None).update(revoked_at=timezone.now())
        self.message_user(request, f"Revoked {revoked} keys.", messages.SUCCESS)
