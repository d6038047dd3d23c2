# Three images, by --target. `platform` is web, worker and scheduler; `sandbox-python` and
# `sandbox-all` are what programs run in on Kubernetes. In this order a builder that makes
# every stage on its way does not make the largest one for the others.

# --- what every sandbox has: the agent, and links from the writable folders to its volume

FROM debian:trixie-slim AS sandbox-base
RUN apt-get update \
    && apt-get install -y --no-install-recommends python3 \
    && rm -rf /var/lib/apt/lists/*
COPY executions/__init__.py executions/limits.py /opt/agent/executions/
COPY executions/runtimes /opt/agent/executions/runtimes
COPY executions/sandbox /opt/agent/executions/sandbox
RUN python3 -m compileall -q /opt/agent
# See executions/sandbox/pod.py: one memory-backed volume is behind all of them.
# Nobody is to enter /opt/closed: see manifests.py.
RUN mkdir -p /scratch /home && mkdir -m 700 /opt/closed \
    && ln -s /scratch/box /box \
    && ln -s /scratch/home /home/runner \
    && rm -rf /var/tmp && ln -s /scratch/var_tmp /var/tmp
# What is done last, as installing packages needs a /tmp and users.
COPY scripts/close_image.sh /opt/agent/close
ENTRYPOINT ["python3", "-I", "-S", "-c", \
    "import sys; sys.path.insert(0, '/opt/agent'); from executions.sandbox import pod; pod.main()"]

FROM sandbox-base AS sandbox-python
RUN PYTHONPATH=/opt/agent python3 -m executions.runtimes.probe > /opt/agent/runtimes.txt
RUN /opt/agent/close
USER 65534

# --- the platform

FROM python:3.13-slim-trixie AS platform

ENV PYTHONUNBUFFERED=1 PYTHONDONTWRITEBYTECODE=1 PIP_NO_CACHE_DIR=1
WORKDIR /srv/coding-platform

# Apart from what the image's own Python has, which pip may not be able to replace.
RUN python -m venv /opt/venv
ENV PATH=/opt/venv/bin:$PATH
COPY requirements.txt .
RUN pip install --disable-pip-version-check -r requirements.txt

# RUNTIMES="python cpp" makes a smaller image with these languages only.
ARG RUNTIMES=""
COPY executions/__init__.py executions/limits.py executions/
COPY executions/runtimes executions/runtimes
COPY executions/sandbox executions/sandbox
RUN apt-get update \
    && python -m executions.runtimes.packages --known $RUNTIMES \
       | xargs apt-get install -y --no-install-recommends \
    && rm -rf /var/lib/apt/lists/*

COPY . .
RUN SECRET_KEY=unused DATABASE_URL=sqlite:// python manage.py collectstatic --noinput \
    && useradd --system --create-home platform \
    && mkdir -p var && chown platform var
USER platform
EXPOSE 8002
CMD ["gunicorn", "-c", "gunicorn.conf.py", "platform_site.wsgi:application"]

# --- every language

FROM sandbox-base AS sandbox-all
ARG RUNTIMES=""
RUN apt-get update \
    && PYTHONPATH=/opt/agent python3 -m executions.runtimes.packages --known $RUNTIMES \
       | xargs apt-get install -y --no-install-recommends \
    && rm -rf /var/lib/apt/lists/*
RUN PYTHONPATH=/opt/agent python3 -m executions.runtimes.prepare /prepared
RUN PYTHONPATH=/opt/agent python3 -m executions.runtimes.probe > /opt/agent/runtimes.txt
RUN /opt/agent/close
USER 65534
