"""The shapes of the API, for its OpenAPI document.

Requests are checked by executions.specs, answers are made by api.representation; these
classes only describe both. A test holds real answers against them.
"""

from __future__ import annotations

from typing import Any

from django.conf import settings
from rest_framework import serializers

from executions.limits import LIMIT_NAMES, Limits
from executions.models import Status
from executions.runtimes import all as all_runtimes
from executions.specs import ENCODINGS
from executions.verdicts import Verdict

STATUSES = [str(value) for value in Status.values]
VERDICTS = [verdict.value for verdict in Verdict]


RUNTIMES = sorted(name for r in all_runtimes() for name in (r.key, *r.aliases))


class LimitsSerializer(serializers.Serializer[Any]):
    """The limits of one stage as they were applied."""

    def get_fields(self) -> dict[str, serializers.Field[Any, Any, Any, Any]]:
        return {
            name: serializers.IntegerField(min_value=1, required=False)
            for name in LIMIT_NAMES
        }


class RunLimitsSerializer(serializers.Serializer[Any]):
    """The limits that are asked for; a missing one takes its default."""

    maximum = "RUN_MAX"

    def get_fields(self) -> dict[str, serializers.Field[Any, Any, Any, Any]]:
        maximum: Limits = getattr(settings, self.maximum)
        return {
            name: serializers.IntegerField(
                min_value=1, max_value=getattr(maximum, name), required=False
            )
            for name in LIMIT_NAMES
        }


class CompileLimitsSerializer(RunLimitsSerializer):
    maximum = "COMPILE_MAX"


class FileSerializer(serializers.Serializer[Any]):
    path = serializers.CharField(max_length=255)
    content = serializers.CharField(allow_blank=True)
    encoding = serializers.ChoiceField(choices=ENCODINGS, required=False)


class SubmissionSerializer(serializers.Serializer[Any]):
    """A program: `source` or `files`, never both."""

    runtime = serializers.ChoiceField(
        choices=RUNTIMES, help_text="Key or alias; see /api/v1/runtimes."
    )
    source = serializers.CharField(  # type: ignore[assignment]
        required=False, allow_blank=True, help_text="The program, when it is one file."
    )
    files = FileSerializer(many=True, required=False)
    entry_point = serializers.CharField(
        required=False, help_text="The file that is run; needed when it is not clear."
    )
    stdin = serializers.CharField(required=False, allow_blank=True)
    stdin_base64 = serializers.CharField(
        required=False, help_text="The input as base64, instead of `stdin`."
    )
    args = serializers.ListField(child=serializers.CharField(), required=False)
    env = serializers.DictField(child=serializers.CharField(), required=False)
    limits = RunLimitsSerializer(required=False)
    compile_limits = CompileLimitsSerializer(required=False)


class SummarySerializer(serializers.Serializer[Any]):
    id = serializers.UUIDField()
    url = serializers.CharField()
    status = serializers.ChoiceField(choices=STATUSES)
    verdict = serializers.ChoiceField(
        choices=VERDICTS, allow_null=True, help_text="Null unless finished."
    )
    reason = serializers.CharField(
        allow_blank=True, help_text="Why it ended so, in plain words."
    )
    runtime = serializers.CharField()
    entry_point = serializers.CharField()
    attempt = serializers.IntegerField()
    queued_at = serializers.DateTimeField()
    started_at = serializers.DateTimeField(allow_null=True)
    ended_at = serializers.DateTimeField(allow_null=True)
    recorded_at = serializers.DateTimeField(allow_null=True)


class StageSerializer(serializers.Serializer[Any]):
    """How compiling or running went; output that was cut lost its middle."""

    end = serializers.CharField(allow_null=True)
    exit_code = serializers.IntegerField(allow_null=True)
    signal = serializers.IntegerField(allow_null=True)
    cpu_time_ms = serializers.IntegerField(allow_null=True)
    wall_time_ms = serializers.IntegerField(allow_null=True)
    memory_peak_bytes = serializers.IntegerField(allow_null=True)
    measured_by = serializers.CharField(allow_null=True)
    stdout = serializers.CharField(allow_blank=True)
    stdout_head_bytes = serializers.IntegerField()
    stdout_dropped_bytes = serializers.IntegerField()
    stderr = serializers.CharField(allow_blank=True)
    stderr_head_bytes = serializers.IntegerField()
    stderr_dropped_bytes = serializers.IntegerField()


class EchoSerializer(serializers.Serializer[Any]):
    """What was submitted (`include=submission`)."""

    files = FileSerializer(many=True)
    stdin = serializers.CharField(required=False, allow_blank=True)
    stdin_base64 = serializers.CharField(required=False, allow_blank=True)
    env = serializers.DictField(child=serializers.CharField(allow_blank=True))


class ExecutionSerializer(SummarySerializer):
    sent_at = serializers.DateTimeField(allow_null=True)
    first_output_at = serializers.DateTimeField(allow_null=True)
    cancel_requested_at = serializers.DateTimeField(allow_null=True)
    args = serializers.ListField(child=serializers.CharField(allow_blank=True))
    limits = LimitsSerializer()
    compile_limits = LimitsSerializer()
    unenforced_limits = serializers.ListField(child=serializers.CharField())
    encoding = serializers.ChoiceField(choices=ENCODINGS)
    compile = StageSerializer(allow_null=True)
    run = StageSerializer(allow_null=True)
    submission = EchoSerializer(required=False)


class PageSerializer(serializers.Serializer[Any]):
    results = SummarySerializer(many=True)
    next = serializers.CharField(
        allow_null=True, help_text="The path of the next page, or null."
    )


class RuntimeSerializer(serializers.Serializer[Any]):
    key = serializers.CharField()
    label = serializers.CharField()  # type: ignore[assignment]
    aliases = serializers.ListField(child=serializers.CharField())
    source_name = serializers.CharField()
    is_compiled = serializers.BooleanField()
    is_available = serializers.BooleanField()
    version = serializers.CharField(allow_blank=True)
    problem = serializers.CharField(
        allow_blank=True, help_text="What is missing, and the package that brings it."
    )
    minimum_limits = LimitsSerializer()
    minimum_compile_limits = LimitsSerializer()


class RuntimesSerializer(serializers.Serializer[Any]):
    results = RuntimeSerializer(many=True)


class RangeSerializer(serializers.Serializer[Any]):
    default = serializers.IntegerField()
    maximum = serializers.IntegerField()


class RangesSerializer(serializers.Serializer[Any]):
    def get_fields(self) -> dict[str, serializers.Field[Any, Any, Any, Any]]:
        return {name: RangeSerializer() for name in LIMIT_NAMES}


class LimitsAnswerSerializer(serializers.Serializer[Any]):
    limits = RangesSerializer()
    compile_limits = RangesSerializer()
    submission = serializers.DictField(child=serializers.IntegerField())
    wait_s = serializers.IntegerField()


class PartSerializer(serializers.Serializer[Any]):
    ok = serializers.BooleanField()
    problem = serializers.CharField(allow_blank=True)


class ReadySerializer(serializers.Serializer[Any]):
    ready = serializers.BooleanField()
    parts = serializers.DictField(child=PartSerializer())


class ErrorBodySerializer(serializers.Serializer[Any]):
    code = serializers.CharField()
    message = serializers.CharField()
    fields = serializers.DictField(  # type: ignore[assignment]
        child=serializers.ListField(child=serializers.CharField())
    )
    request_id = serializers.CharField(allow_blank=True)


class ErrorSerializer(serializers.Serializer[Any]):
    error = ErrorBodySerializer()
