# One image for web, worker and scheduler; the languages are Debian's own packages.
FROM python:3.13-slim-trixie

ENV PYTHONUNBUFFERED=1 PYTHONDONTWRITEBYTECODE=1 PIP_NO_CACHE_DIR=1
WORKDIR /srv/coding-platform

COPY requirements.txt .
RUN pip install --disable-pip-version-check -r requirements.txt

# RUNTIMES="python cpp" makes a smaller image with these languages only.
ARG RUNTIMES=""
COPY executions/__init__.py executions/limits.py executions/
COPY executions/runtimes executions/runtimes
COPY executions/sandbox executions/sandbox
RUN apt-get update \
    && python -m executions.runtimes.packages $RUNTIMES \
       | xargs apt-get install -y --no-install-recommends \
    && rm -rf /var/lib/apt/lists/*

COPY . .
RUN SECRET_KEY=unused DATABASE_URL=sqlite:// python manage.py collectstatic --noinput \
    && useradd --system --create-home platform \
    && mkdir -p var && chown platform var
USER platform
EXPOSE 8002
CMD ["gunicorn", "-c", "gunicorn.conf.py", "platform_site.wsgi:application"]
