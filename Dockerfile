# One image for the API, both projectors and `rollcall heads`. It contains no database: set ROLLCALL_MYSQL_URL and
# ROLLCALL_MONGO_URL. docker-compose.yml is an example of the whole system.

FROM python:3.13-slim AS build
WORKDIR /build
# Exactly the packages of the lock files (`make lock`), by their hashes.
COPY deploy/requirements.lock deploy/build-requirements.lock ./
RUN python -m venv /opt/rollcall && python -m venv /opt/build \
    && /opt/rollcall/bin/pip install --disable-pip-version-check --no-cache-dir --require-hashes -r requirements.lock \
    && /opt/build/bin/pip install --disable-pip-version-check --no-cache-dir --require-hashes -r build-requirements.lock
COPY pyproject.toml README.md LICENSE ./
COPY auth/ auth/
COPY events/ events/
COPY projections/ projections/
COPY graph/ graph/
COPY rollcall/ rollcall/
# Without the extras: `embedded` is for machines without databases, `dev` for development.
RUN /opt/build/bin/pip wheel --disable-pip-version-check --no-deps --no-build-isolation --wheel-dir dist . \
    && /opt/rollcall/bin/pip install --disable-pip-version-check --no-cache-dir --no-deps dist/*.whl

FROM python:3.13-slim
# A new volume gets the owner of the directory that it is mounted at.
RUN useradd --system --uid 10001 --user-group --no-create-home --home-dir /nonexistent rollcall \
    && install --directory --owner=rollcall --group=rollcall --mode=700 /heads
COPY --from=build /opt/rollcall /opt/rollcall
ENV PATH=/opt/rollcall/bin:$PATH \
    PYTHONUNBUFFERED=1 \
    PYTHONDONTWRITEBYTECODE=1 \
    ROLLCALL_HOST=0.0.0.0 \
    ROLLCALL_PORT=8000
# By number, so that an orchestrator can verify that it is not root.
USER 10001:10001
EXPOSE 8000
# For the API. A projector has no port: give it a check of its own, as docker-compose.yml does, or none.
HEALTHCHECK --interval=15s --timeout=5s --start-period=30s --retries=3 \
    CMD ["python", "-c", "import os, urllib.request; urllib.request.urlopen('http://127.0.0.1:' + os.environ['ROLLCALL_PORT'] + '/healthz', timeout=4)"]
ENTRYPOINT ["rollcall"]
CMD ["serve"]
