"""Forms of the pages. What may be submitted, specs.validate decides, not they."""

from __future__ import annotations

import base64
import re
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from datetime import UTC, datetime, time
from decimal import Decimal
from typing import Any

from django import forms
from django.conf import settings

from executions import presentation, runtimes, specs
from executions.limits import MIB
from executions.models import Execution, ExecutionQuerySet, Status
from executions.verdicts import Verdict

# Browsers drop or change these.
_NOT_IN_TEXT_FIELDS = re.compile(r"[\x00-\x08\x0b\x0c\x0e-\x1f]")


@dataclass(frozen=True, slots=True)
class LimitInput:
    """A limit that the editor offers; people type `scale`-fold units of it."""

    name: str
    unit: str
    scale: int
    step: str

    @property
    def label(self) -> str:
        return presentation.LIMIT_LABELS[self.name]


LIMIT_INPUTS = (
    LimitInput("cpu_time_ms", "seconds", 1000, "0.001"),
    LimitInput("wall_time_ms", "seconds", 1000, "0.001"),
    LimitInput("memory_bytes", "MiB", MIB, "1"),
    LimitInput("max_processes", "", 1, "1"),
)


def in_units(limit: LimitInput, value: int) -> str:
    """Write a limit's value as the editor's input field takes it."""
    return f"{Decimal(value) / limit.scale:f}"


class ProgramForm(forms.Form):
    """The editor, sent without JavaScript."""

    based_on = forms.UUIDField(required=False)
    runtime = forms.CharField()
    source = forms.CharField(strip=False, required=False)
    stdin = forms.CharField(strip=False, required=False)
    args = forms.CharField(strip=False, required=False)
    env = forms.CharField(strip=False, required=False)
    entry_point = forms.CharField(required=False)
    keep = forms.MultipleChoiceField(required=False)

    def __init__(self, *args: Any, kept: Iterable[str] = (), **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        choices = self.fields["keep"]
        assert isinstance(choices, forms.MultipleChoiceField)  # noqa: S101 (for mypy)
        choices.choices = [(path, path) for path in kept]
        for limit in LIMIT_INPUTS:
            self.fields[limit.name] = forms.DecimalField(
                required=False, label=limit.label, max_digits=12, decimal_places=3
            )

    def submission(self, others: Iterable[Mapping[str, Any]] = ()) -> dict[str, Any]:
        """Return what the form says as specs.validate wants it.

        `others` are files of an earlier execution, sent along as they are stored.
        """
        data: dict[str, Any] = {
            "runtime": self.cleaned_data["runtime"],
            "stdin": self._text("stdin"),
            "args": self._lines("args"),
            "env": dict(_pair(line) for line in self._lines("env")),
            "limits": dict(self._limits()),
        }
        name = self.cleaned_data["entry_point"]
        kept = [file for file in others if file["path"] in self.cleaned_data["keep"]]
        if kept:
            main = {"path": name or self._own_name(), "content": self._text("source")}
            return {**data, "entry_point": main["path"], "files": [main, *kept]}
        if name:
            data["entry_point"] = name
        return {**data, "source": self._text("source")}

    def add_refusal(self, refusal: specs.InvalidSubmission) -> None:
        for field, problems in refusal.fields.items():
            name = field.removeprefix("limits.").split(".")[0]
            for problem in problems:
                if name in self.fields:
                    self.add_error(name, problem)
                else:
                    self.add_error(None, f"{field}: {problem}")

    def _text(self, name: str) -> str:
        """Return a text as it was typed: browsers send every line end as CR LF."""
        text: str = self.cleaned_data[name]
        return text.replace("\r\n", "\n")

    def _lines(self, name: str) -> list[str]:
        return [line for line in self._text(name).split("\n") if line]

    def _limits(self) -> Iterable[tuple[str, int]]:
        for limit in LIMIT_INPUTS:
            value: Decimal | None = self.cleaned_data[limit.name]
            if value is not None:
                yield limit.name, round(value * limit.scale)

    def _own_name(self) -> str:
        try:
            return runtimes.get(self.cleaned_data["runtime"]).source_name
        except runtimes.UnknownRuntime:
            return "main"


def _pair(line: str) -> tuple[str, str]:
    name, _, value = line.partition("=")
    return name.strip(), value


def initial_of(execution: Execution) -> dict[str, Any]:
    """Return an execution as the editor's initial values.

    Only limits that differ from the defaults are filled in, so that a change of the
    defaults reaches old programs.
    """
    files = list(presentation.program_files(execution))
    defaults = settings.RUN_DEFAULT.as_dict()
    return {
        "based_on": execution.id,
        "runtime": execution.runtime,
        "source": next((f.text or "" for f in files if f.is_entry_point), ""),
        "entry_point": execution.entry_point,
        "stdin": bytes(execution.stdin).decode("utf-8", "replace"),
        "args": "\n".join(execution.args),
        "env": "\n".join(f"{name}={value}" for name, value in execution.env.items()),
        "keep": [file.path for file in files if not file.is_entry_point],
        **{
            limit.name: in_units(limit, execution.limits[limit.name])
            for limit in LIMIT_INPUTS
            if execution.limits.get(limit.name) != defaults[limit.name]
        },
    }


def losses_of(execution: Execution) -> Iterator[str]:
    """Yield what text fields cannot hold of an execution, in plain words."""
    files = presentation.program_files(execution)
    entry = next((file for file in files if file.is_entry_point), None)
    if entry and not _is_editable(entry.text):
        yield "The program is not plain text and changes when it is edited here."
    if not _is_editable(presentation.as_text(bytes(execution.stdin))):
        yield "The input is not plain text and changes when it is sent from here."
    if any(not text or "\n" in text for text in execution.args):
        yield "Arguments that are empty or have several lines are not kept here."
    if any("\n" in text for text in execution.env.values()):
        yield "Variables of several lines are not kept here."


def _is_editable(text: str | None) -> bool:
    return text is not None and not _NOT_IN_TEXT_FIELDS.search(text)


def submission_of(execution: Execution) -> dict[str, Any]:
    """Return what was submitted, byte for byte, as specs.validate wants it."""
    return {
        "runtime": execution.runtime,
        "entry_point": execution.entry_point,
        "files": stored_files(execution),
        "stdin_base64": base64.b64encode(bytes(execution.stdin)).decode(),
        "args": execution.args,
        "env": execution.env,
        "limits": execution.limits,
        "compile_limits": execution.compile_limits,
    }


def stored_files(execution: Execution) -> list[dict[str, str]]:
    return [
        {"path": file["path"], "content": file["content"], "encoding": "base64"}
        for file in execution.files
    ]


class FilterForm(forms.Form):
    """Filters of the list of executions; an empty one selects everything."""

    state = forms.ChoiceField(required=False, label="Outcome")
    runtime = forms.ChoiceField(required=False, label="Language")
    since = forms.DateField(
        required=False, label="From", widget=forms.DateInput({"type": "date"})
    )
    until = forms.DateField(
        required=False, label="To", widget=forms.DateInput({"type": "date"})
    )

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        labels = presentation.OUTCOME_LABELS
        states = [s for s in Status.values if s != Status.FINISHED]
        self._choose("state", [(v, labels[v]) for v in [*Verdict, *states]])
        self._choose("runtime", [(r.key, r.label) for r in runtimes.all()])

    def _choose(self, name: str, choices: list[tuple[str, str]]) -> None:
        field = self.fields[name]
        assert isinstance(field, forms.ChoiceField)  # noqa: S101 (for mypy)
        field.choices = [("", "All"), *choices]

    def narrow(self, executions: ExecutionQuerySet) -> ExecutionQuerySet:
        """Apply what is valid of the filters, leaving out what is not."""
        wanted = self.cleaned_data if self.is_bound and self.is_valid() else {}
        if state := wanted.get("state"):
            column = "status" if state in Status.values else "verdict"
            executions = executions.filter(**{column: state})
        if runtime := wanted.get("runtime"):
            executions = executions.filter(runtime=runtime)
        if since := wanted.get("since"):
            first = datetime.combine(since, time.min, tzinfo=UTC)
            executions = executions.filter(queued_at__gte=first)
        if until := wanted.get("until"):
            last = datetime.combine(until, time.max, tzinfo=UTC)
            executions = executions.filter(queued_at__lte=last)
        return executions
