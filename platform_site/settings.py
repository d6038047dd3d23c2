"""Settings, read once from the environment (and .env), each with a unit in its name.

Every knob is described in docs/settings.md. Any of them can also be read from a file:
NAME_FILE=/run/secrets/name gives NAME.
"""

from __future__ import annotations

import contextlib
import os
import secrets
import socket
import warnings
from pathlib import Path
from typing import Any

import environ
from django.core.exceptions import ImproperlyConfigured

from executions.limits import KIB, LIMIT_NAMES, MIB, Limits

BASE_DIR = Path(__file__).resolve().parent.parent
env = environ.FileAwareEnv()
environ.Env.read_env(os.environ.get("ENV_FILE", BASE_DIR / ".env"))

DEBUG: bool = env.bool("DEBUG", default=False)
VAR_DIR: Path = BASE_DIR / env.str("VAR_DIR", default="var")


# Database ---------------------------------------------------------------------------

DATABASE_POOL_SIZE: int = env.int("DATABASE_POOL_SIZE", default=4)
"""Few, as each is a process of PostgreSQL with caches of its own: a statement lends one
for a millisecond, and ten that take turns cost 3 % of a short run."""
DATABASE_CONNECT_TIMEOUT_S: int = env.int("DATABASE_CONNECT_TIMEOUT_S", default=5)
DATABASE_PREPARED_STATEMENTS: bool = env.bool(
    "DATABASE_PREPARED_STATEMENTS", default=True
)
"""Let PostgreSQL plan a statement once: a third of its work. Not through a pooler that
hands each transaction another connection, unless it knows them."""


def _sqlite_options() -> dict[str, Any]:
    """Wait for locks: deferred transactions fail with "database is locked" instead.

    Each commit is on the disk (FULL): what was accepted outlives a loss of power.
    """
    return {
        "transaction_mode": "IMMEDIATE",
        "timeout": 20,
        "init_command": "PRAGMA journal_mode=WAL; PRAGMA synchronous=FULL;",
    }


def _postgresql_options() -> dict[str, Any]:
    from platform_site import postgresql  # noqa: PLC0415 - SQLite needs no psycopg

    return {
        "connect_timeout": DATABASE_CONNECT_TIMEOUT_S,
        "server_side_binding": DATABASE_PREPARED_STATEMENTS,
        "prepare_threshold": 2 if DATABASE_PREPARED_STATEMENTS else None,
        "pool": {
            "connection_class": postgresql.Connection,
            "min_size": 1,
            "max_size": DATABASE_POOL_SIZE,
            "timeout": DATABASE_CONNECT_TIMEOUT_S,
            # The pool doubles the pause after each failure, up to this. Giving up soon
            # costs nothing: whoever asks next starts anew.
            "reconnect_timeout": 2,
        },
    }


def _database() -> dict[str, Any]:
    url = env.str("DATABASE_URL", default="")
    if not url:
        VAR_DIR.mkdir(parents=True, exist_ok=True)
        path = VAR_DIR / "platform.sqlite3"
        if not path.exists():
            # Sessions and programs are nobody else's; SQLite's other files follow suit.
            # Where it cannot be made, whoever needs it says so.
            with contextlib.suppress(OSError):
                path.touch(mode=0o600)
        url = f"sqlite:///{path}"
    config: dict[str, Any] = environ.Env.db_url_config(url)
    options = (
        _sqlite_options()
        if config["ENGINE"].endswith("sqlite3")
        else _postgresql_options()
    )
    config["OPTIONS"] = {**options, **config.get("OPTIONS", {})}
    if config["ENGINE"].endswith("sqlite3"):
        # Opening one costs more than a query; see platform_site.connections.
        config["CONN_MAX_AGE"] = None
    # Restarted databases leave dead connections in the pool: check before use.
    config["CONN_HEALTH_CHECKS"] = not config["ENGINE"].endswith("sqlite3")
    return config


DATABASES = {"default": _database()}
DEFAULT_AUTO_FIELD = "django.db.models.BigAutoField"


# Secrets and hosts ------------------------------------------------------------------


def _own_secret_key() -> str:
    """Return the key kept beside the SQLite file, made on first use."""
    path = VAR_DIR / "secret_key"
    path.parent.mkdir(parents=True, exist_ok=True)
    try:
        descriptor = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
        with os.fdopen(descriptor, "w") as file:
            file.write(secrets.token_urlsafe(50))
    except FileExistsError:
        pass
    return path.read_text()


def _secret_key() -> str:
    key: str = env.str("SECRET_KEY", default="")
    if key:
        return key
    if DATABASES["default"]["ENGINE"].endswith("sqlite3"):
        return _own_secret_key()
    if DEBUG:
        return "only-for-development"
    raise ImproperlyConfigured("Set SECRET_KEY: every process needs the same one.")


SECRET_KEY = _secret_key()
ALLOWED_HOSTS: list[str] = env.list(
    "ALLOWED_HOSTS", default=["localhost", "127.0.0.1", "[::1]"]
)
CSRF_TRUSTED_ORIGINS: list[str] = env.list("CSRF_TRUSTED_ORIGINS", default=[])

# Behind TLS: HTTPS=true turns on what `check --deploy` asks for.
HTTPS: bool = env.bool("HTTPS", default=False)
SECURE_SSL_REDIRECT: bool = env.bool("HTTPS_REDIRECT", default=HTTPS)
SECURE_HSTS_SECONDS: int = env.int("HSTS_S", default=31_536_000 if HTTPS else 0)
SECURE_HSTS_INCLUDE_SUBDOMAINS = SECURE_HSTS_PRELOAD = HTTPS
SESSION_COOKIE_SECURE = CSRF_COOKIE_SECURE = HTTPS
SESSION_COOKIE_HTTPONLY = True
# The probes of a cluster speak plain HTTP.
SECURE_REDIRECT_EXEMPT = [r"^api/health/?$", r"^api/ready/?$"]
if env.bool("TRUST_FORWARDED_PROTO", default=False):
    SECURE_PROXY_SSL_HEADER = ("HTTP_X_FORWARDED_PROTO", "https")
SECURE_CONTENT_TYPE_NOSNIFF = True
SECURE_REFERRER_POLICY = "same-origin"
X_FRAME_OPTIONS = "DENY"


# Applications -----------------------------------------------------------------------

INSTALLED_APPS = [
    "django.contrib.admin",
    "django.contrib.auth",
    "django.contrib.contenttypes",
    "django.contrib.sessions",
    "django.contrib.messages",
    "whitenoise.runserver_nostatic",
    "django.contrib.staticfiles",
    "rest_framework",
    "drf_spectacular",
    "platform_site",
    "accounts",
    "executions",
]

MIDDLEWARE = [
    "platform_site.middleware.Outermost",
    "django.middleware.security.SecurityMiddleware",
    "whitenoise.middleware.WhiteNoiseMiddleware",
    "django.contrib.sessions.middleware.SessionMiddleware",
    "django.middleware.common.CommonMiddleware",
    "django.middleware.csrf.CsrfViewMiddleware",
    "django.contrib.auth.middleware.AuthenticationMiddleware",
    "django.contrib.messages.middleware.MessageMiddleware",
    "django.middleware.clickjacking.XFrameOptionsMiddleware",
]

ROOT_URLCONF = "platform_site.urls"
CSRF_FAILURE_VIEW = "platform_site.failures.csrf_failure"
WSGI_APPLICATION = "platform_site.wsgi.application"
# Both URL forms work, and a POST is never redirected.
APPEND_SLASH = False

TEMPLATES = [
    {
        "BACKEND": "django.template.backends.django.DjangoTemplates",
        "DIRS": [BASE_DIR / "templates"],
        "APP_DIRS": True,
        "OPTIONS": {
            "context_processors": [
                "django.template.context_processors.request",
                "django.contrib.auth.context_processors.auth",
                "django.contrib.messages.context_processors.messages",
            ],
        },
    },
]

AUTH_USER_MODEL = "accounts.User"
LOGIN_URL = "/accounts/login/"
LOGIN_REDIRECT_URL = "/"
LOGOUT_REDIRECT_URL = "/"
AUTH_PASSWORD_VALIDATORS = [
    {"NAME": f"django.contrib.auth.password_validation.{name}"}
    for name in (
        "UserAttributeSimilarityValidator",
        "MinimumLengthValidator",
        "CommonPasswordValidator",
        "NumericPasswordValidator",
    )
]

# Wrong passwords (see accounts.guesses): more than can be tried while they count, as
# whoever could fill it would have the others forgotten.
CACHES: dict[str, Any] = {
    "default": {
        "BACKEND": "django.core.cache.backends.locmem.LocMemCache",
        "OPTIONS": {"MAX_ENTRIES": 20_000},
    }
}

LANGUAGE_CODE = "en"
TIME_ZONE = "UTC"
USE_TZ = True

STATIC_URL = "/static/"
STATIC_ROOT = BASE_DIR / "staticfiles"
STATICFILES_DIRS = [BASE_DIR / "static"]
# Served from the sources while nothing was collected: `serve` needs no extra step.
WHITENOISE_USE_FINDERS = not STATIC_ROOT.is_dir()
warnings.filterwarnings("ignore", message="No directory at: .*/staticfiles/")

# The API's views name their own classes (see executions.api.views.View).
REST_FRAMEWORK: dict[str, Any] = {
    "DEFAULT_SCHEMA_CLASS": "drf_spectacular.openapi.AutoSchema",
    "EXCEPTION_HANDLER": "executions.api.errors.handle",
    "UNAUTHENTICATED_USER": "django.contrib.auth.models.AnonymousUser",
}

SPECTACULAR_SETTINGS: dict[str, Any] = {
    "TITLE": "Coding Platform",
    "VERSION": "1",
    "OAS_VERSION": "3.1.0",
    "SERVE_INCLUDE_SCHEMA": False,
}


# Broker and workers -----------------------------------------------------------------

CELERY_BROKER_URL: str = env.str("CELERY_BROKER_URL", default="memory://local")
REDIS_CONNECT_TIMEOUT_S: float = env.float("REDIS_CONNECT_TIMEOUT_S", default=1.0)
WORKER_CONCURRENCY: int = env.int(
    "WORKER_CONCURRENCY", default=max(8, 4 * (os.cpu_count() or 1))
)
"""Runs that one worker process follows at the same time; each takes a thread."""
WORKER_NAME: str = env.str("WORKER_NAME", default=socket.gethostname())[:60]

LEASE_LENGTH_S: float = env.float("LEASE_LENGTH_S", default=15.0)
LEASE_RENEW_S: float = env.float("LEASE_RENEW_S", default=5.0)
LEASE_LOOK_S: float = env.float("LEASE_LOOK_S", default=1.0)
MAX_ATTEMPTS: int = env.int("MAX_ATTEMPTS", default=3)
DEADLINE_GRACE_S: float = env.float("DEADLINE_GRACE_S", default=30.0)
"""How long after its deadline a run on a machine that stays away is given up."""
GIVE_BACK_S: float = env.float("GIVE_BACK_S", default=20.0)
"""How long a worker that is told to stop has to hand its runs over."""
SERVE_STOP_S: float = env.float("SERVE_STOP_S", default=5.0)
"""How long running programs have to end when `serve` is stopped."""

RETENTION_DAYS: int = env.int("RETENTION_DAYS", default=30)
"""Finished executions older than this are deleted; 0 keeps them for ever."""
IDEMPOTENCY_RETENTION_HOURS: int = env.int("IDEMPOTENCY_RETENTION_HOURS", default=24)

METRICS_PORT: int = env.int("METRICS_PORT", default=0)
"""Where workers and the sandbox controller answer Prometheus; 0: they do not."""
METRICS_HOST: str = env.str("METRICS_HOST", default="0.0.0.0")  # noqa: S104 - as WEB_BIND


# Sandbox ----------------------------------------------------------------------------

SANDBOX_BACKEND: str = env.str("SANDBOX_BACKEND", default="jail")
"""jail, kubernetes, plain (no confinement at all) or fake (tests)."""
SANDBOX_STATE_DIR: str = env.str("SANDBOX_STATE_DIR", default=str(VAR_DIR / "sandbox"))
SANDBOX_PREPARED_DIR: str = env.str(
    "SANDBOX_PREPARED_DIR", default=str(VAR_DIR / "prepared")
)
"""What is made once so that compilers are fast (see runtimes.prepare)."""
SANDBOX_ALLOW_UNENFORCED_LIMITS: bool = env.bool(
    "SANDBOX_ALLOW_UNENFORCED_LIMITS", default=False
)
SANDBOX_WARM: dict[str, int] = env.dict(
    "SANDBOX_WARM", cast={"value": int}, default={"python": 2, "javascript": 1, "": 1}
)
"""How many jails wait for each prestarted interpreter, and ("") for all the others."""
SANDBOX_MAX_JAILS: int = env.int(
    "SANDBOX_MAX_JAILS", default=max(32, min(WORKER_CONCURRENCY, 1000))
)
"""A run that waits a minute for one of them goes back to the queue."""
SANDBOX_PATIENCE_S: float = env.float("SANDBOX_PATIENCE_S", default=1800.0)
"""How long a run stays queued while no sandbox is to be had; then attempts count."""
SANDBOX_UID_BASE: int = env.int("SANDBOX_UID_BASE", default=2_000_000_000)
"""The first of the jails' own uids, when running as root."""
SANDBOX_CGROUP: str = env.str("SANDBOX_CGROUP", default="")
"""A version 2 cgroup of ours, such as one made by systemd; found by itself if empty."""
SANDBOX_LINGER_S: float = env.float("SANDBOX_LINGER_S", default=60.0)
"""How long the fork server and its programs outlive the last worker."""

# Of SANDBOX_BACKEND=kubernetes.
SANDBOX_NAMESPACE: str = env.str(
    "SANDBOX_NAMESPACE", default="coding-platform-sandboxes"
)
SANDBOX_IMAGE: str = env.str("SANDBOX_IMAGE", default="coding-platform-sandbox-all:1")
"""By digest, where the nodes pull it from a registry."""
SANDBOX_IMAGES: dict[str, str] = env.dict("SANDBOX_IMAGES", default={})
"""Another image for the pods of a profile, by its name."""
SANDBOX_RUNTIMES: dict[str, str] = env.dict("SANDBOX_RUNTIMES", default={})
"""What the images have, as they say themselves: versions by key. Empty: everything."""
SANDBOX_PULL_POLICY: str = env.str("SANDBOX_PULL_POLICY", default="IfNotPresent")
SANDBOX_PROFILES: dict[str, dict[str, Any]] = env.json("SANDBOX_PROFILES", default={})
"""The sizes of pods, if not manifests.DEFAULT_PROFILES; a runtime names its own."""
SANDBOX_POOL: dict[str, Any] = env.json(
    "SANDBOX_POOL", default={"small.python": [2, 20], "large": [1, 5]}
)
"""The least and the most pods that wait, for each profile or interpreter of one."""
SANDBOX_CANARY_S: float = env.float("SANDBOX_CANARY_S", default=300.0)
"""How often it is proven from inside a pod that pods are closed."""
SANDBOX_CANARY_OVERRIDE: list[str] = env.list("SANDBOX_CANARY_OVERRIDE", default=[])
"""Checks that may fail: programs are run all the same. See sandbox.canary.CHECKS."""
SANDBOX_RUNTIME_CLASS: str = env.str("SANDBOX_RUNTIME_CLASS", default="")
SANDBOX_PRIORITY_CLASS: str = env.str("SANDBOX_PRIORITY_CLASS", default="")
SANDBOX_NODE_SELECTOR: dict[str, str] = env.dict("SANDBOX_NODE_SELECTOR", default={})
SANDBOX_TOLERATIONS: list[dict[str, Any]] = env.json("SANDBOX_TOLERATIONS", default=[])
SANDBOX_USER_NAMESPACES: bool = env.bool("SANDBOX_USER_NAMESPACES", default=False)
"""`hostUsers: false`, which takes Kubernetes 1.33 and a runtime that can do it."""


# Limits -----------------------------------------------------------------------------


def _limits(prefix: str, default: Limits) -> Limits:
    """Read one knob for each limit, such as RUN_MAX_CPU_TIME_MS."""
    return Limits(
        **{
            name: env.int(f"{prefix}_{name.upper()}", default=getattr(default, name))
            for name in LIMIT_NAMES
        }
    )


RUN_DEFAULT = _limits(
    "RUN_DEFAULT",
    # What a small pod has; see executions.sandbox.manifests.
    Limits(scratch_bytes=64 * MIB) if SANDBOX_BACKEND == "kubernetes" else Limits(),
)
RUN_MAX = _limits(
    "RUN_MAX",
    Limits(
        cpu_time_ms=30_000,
        wall_time_ms=60_000,
        memory_bytes=1024 * MIB,
        output_bytes=8 * MIB,
        max_processes=256,
        file_bytes=256 * MIB,
        scratch_bytes=512 * MIB,
        stack_bytes=512 * MIB,
    ),
)
COMPILE_DEFAULT = _limits(
    "COMPILE_DEFAULT",
    Limits(
        cpu_time_ms=20_000,
        wall_time_ms=30_000,
        memory_bytes=1024 * MIB,
        output_bytes=256 * KIB,
        max_processes=128,
        file_bytes=256 * MIB,
        scratch_bytes=512 * MIB,
    ),
)
COMPILE_MAX = _limits(
    "COMPILE_MAX",
    Limits(
        cpu_time_ms=60_000,
        wall_time_ms=120_000,
        memory_bytes=2048 * MIB,
        output_bytes=1 * MIB,
        max_processes=256,
        file_bytes=512 * MIB,
        scratch_bytes=1024 * MIB,
        stack_bytes=512 * MIB,
    ),
)


# Submissions and requests -----------------------------------------------------------

SUBMISSION_MAX_FILES: int = env.int("SUBMISSION_MAX_FILES", default=64)
SUBMISSION_MAX_SOURCE_BYTES: int = env.int("SUBMISSION_MAX_SOURCE_BYTES", default=MIB)
SUBMISSION_MAX_STDIN_BYTES: int = env.int("SUBMISSION_MAX_STDIN_BYTES", default=MIB)
SUBMISSION_MAX_ARGS: int = env.int("SUBMISSION_MAX_ARGS", default=64)
SUBMISSION_MAX_ARGS_BYTES: int = env.int("SUBMISSION_MAX_ARGS_BYTES", default=32 * KIB)
SUBMISSION_MAX_ENV: int = env.int("SUBMISSION_MAX_ENV", default=64)
SUBMISSION_MAX_ENV_BYTES: int = env.int("SUBMISSION_MAX_ENV_BYTES", default=32 * KIB)
REQUEST_MAX_BODY_BYTES: int = env.int("REQUEST_MAX_BODY_BYTES", default=4 * MIB)
"""A body above this is refused unread. JSON and base64 make a program larger."""
DATA_UPLOAD_MAX_MEMORY_SIZE = REQUEST_MAX_BODY_BYTES
REQUEST_MAX_WAIT_S: int = env.int("REQUEST_MAX_WAIT_S", default=60)
REQUEST_HEAD_TIMEOUT_S: float = env.float("REQUEST_HEAD_TIMEOUT_S", default=10.0)
REQUEST_BODY_TIMEOUT_S: float = env.float("REQUEST_BODY_TIMEOUT_S", default=20.0)
"""All of the body must have arrived by then: slow clients get 408."""
WEB_MAX_CONNECTIONS: int = env.int("WEB_MAX_CONNECTIONS", default=2_000)
WEB_MAX_WAITERS: int = env.int("WEB_MAX_WAITERS", default=1_000)
"""Requests of one web process that wait for a program; each holds a thread."""
WEB_SPARE_THREADS: int = env.int("WEB_SPARE_THREADS", default=64)
"""Threads of a web process for all requests that do not wait."""
API_PAGE_SIZE: int = env.int("API_PAGE_SIZE", default=50)
API_MAX_PAGE_SIZE: int = env.int("API_MAX_PAGE_SIZE", default=200)


# Logging ----------------------------------------------------------------------------

LOG_LEVEL: str = env.str("LOG_LEVEL", default="INFO").upper()
LOGGING: dict[str, Any] = {
    "version": 1,
    "disable_existing_loggers": False,
    "formatters": {
        "plain": {
            "format": "%(asctime)s %(levelname)s %(name)s [%(request_id)s] %(message)s"
        },
    },
    "filters": {"request_id": {"()": "platform_site.request_ids.AddRequestId"}},
    "handlers": {
        "stderr": {
            "class": "logging.StreamHandler",
            "formatter": "plain",
            "filters": ["request_id"],
        }
    },
    "root": {"handlers": ["stderr"], "level": LOG_LEVEL},
    "loggers": {
        # Each request has its own line already (see platform_site.middleware).
        "django.request": {"level": "ERROR"},
        # Two lines for each bell would say nothing that the rows do not.
        "celery.worker.strategy": {"level": "WARNING"},
        "celery.app.trace": {"level": "WARNING"},
        # Whoever asked it for a connection reports the error, once.
        "psycopg.pool": {"level": "ERROR"},
    },
}
