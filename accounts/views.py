"""The pages of an account: log in and out, password, API keys."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from django.contrib import messages
from django.contrib.auth.decorators import login_required
from django.contrib.auth.views import LoginView, LogoutView, PasswordChangeView
from django.contrib.messages.views import SuccessMessageMixin
from django.http import HttpRequest, HttpResponse
from django.shortcuts import get_object_or_404, redirect, render
from django.urls import reverse_lazy
from django.utils import timezone
from django.views.decorators.cache import never_cache
from django.views.decorators.http import require_http_methods, require_POST

from accounts.forms import ApiKeyForm, LogInForm
from accounts.models import ApiKey

if TYPE_CHECKING:
    from accounts.models import User


class _SignedInRequest(HttpRequest):
    """What login_required lets through."""

    user: User


log_in = LoginView.as_view(
    template_name="accounts/login.html",
    authentication_form=LogInForm,
    redirect_authenticated_user=True,
)
log_out = LogoutView.as_view()


class _ChangePassword(SuccessMessageMixin, PasswordChangeView):  # type: ignore[type-arg]
    template_name = "accounts/password.html"
    success_url = reverse_lazy("executions:editor")
    success_message = "Your password was changed."


change_password = _ChangePassword.as_view()


@never_cache
@require_http_methods(["GET", "HEAD", "POST"])
@login_required
def api_keys(request: _SignedInRequest) -> HttpResponse:
    """List the own keys; a POST creates one.

    Its text is in the answer to that POST and nowhere else: a redirect would have to
    keep it somewhere in between.
    """
    form = ApiKeyForm(request.POST or None)
    context: dict[str, Any] = {"now": timezone.now()}
    if request.method == "POST" and form.is_valid():
        key, text = ApiKey.objects.issue(
            request.user, form.cleaned_data["name"], expires_at=form.expires_at()
        )
        form = ApiKeyForm()
        context |= {"new_key": key, "new_key_text": text}
    context |= {"form": form, "keys": request.user.api_keys.all()}
    status = 400 if form.errors else 200
    return render(request, "accounts/api_keys.html", context, status=status)


@require_POST
@login_required
def revoke_api_key(request: _SignedInRequest, pk: int) -> HttpResponse:
    key = get_object_or_404(request.user.api_keys, pk=pk)
    request.user.api_keys.filter(pk=key.pk, revoked_at=None).update(
        revoked_at=timezone.now()
    )
    messages.success(request, f"The key “{key.name}” was revoked.")
    return redirect("accounts:api_keys")
