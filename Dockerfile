# syntax=docker/dockerfile:1
# One image for Docker, Kubernetes and OpenShift:  docker build -t market-spine:latest .
# BASE is any image with Python 3.11 or later and its venv module; name it by digest for repeatable builds.
ARG BASE=docker.io/library/python:3.13-slim

FROM ${BASE} AS build
# strip, where the base is a Debian: symbols are 60 MB of the libraries.
# hadolint ignore=DL3008
RUN if command -v apt-get > /dev/null; then \
        apt-get update && apt-get install --yes --no-install-recommends binutils && rm -rf /var/lib/apt/lists/*; \
    fi
WORKDIR /src
ENV PIP_NO_CACHE_DIR=1 PIP_DISABLE_PIP_VERSION_CHECK=1
# Optional parts, separated by blanks, each with a file of its own in deploy/locks: --build-arg EXTRAS=simulate
ARG EXTRAS=""
COPY requirements-runtime.lock ./
COPY deploy/locks deploy/locks
# Two environments: one with pip and the build backend, which stays behind, and the one that runs.
RUN python3 -m venv /opt/build && python3 -m venv --without-pip /opt/market-spine \
    && /opt/build/bin/pip install --require-hashes --only-binary :all: --requirement deploy/locks/build.lock \
    && for extra in ${EXTRAS}; do set -- "$@" "deploy/locks/$extra.lock"; done \
    && for lock in requirements-runtime.lock "$@"; do \
        /opt/build/bin/pip --python /opt/market-spine/bin/python install \
            --no-deps --require-hashes --only-binary :all: --requirement "$lock" || exit 1; \
    done
COPY LICENSE ./
COPY market-spine-basic market-spine-basic
COPY packages packages
RUN /opt/build/bin/pip wheel --no-deps --no-build-isolation --wheel-dir wheels ./market-spine-basic ./packages/spine-domains \
    && /opt/build/bin/pip --python /opt/market-spine/bin/python install --no-deps --no-index wheels/*.whl
# What no run needs: Rich's colouring of source code, a second implementation of zstandard, tests, type stubs, symbols.
RUN site=$(echo /opt/market-spine/lib/python3*/site-packages) \
    && rm -rf "$site"/pygments* "$site"/zstandard/_cffi*.so "$site"/zstandard/backend_cffi.py "$site"/fsspec/tests \
    && find "$site" -name '*.pyi' -delete && find "$site" -name __pycache__ -prune -exec rm -rf {} + \
    && if command -v strip > /dev/null; then \
        strip --strip-unneeded "$site"/_polars_runtime*/*.so "$site"/zstandard/*.so; \
    fi \
    && /opt/market-spine/bin/python -m compileall -q --invalidation-mode unchecked-hash "$site"

FROM ${BASE}
ARG VERSION=0.1.0
ARG REVISION=unknown
LABEL org.opencontainers.image.title="market-spine" \
      org.opencontainers.image.description="Revision-aware, restatable market-data loads" \
      org.opencontainers.image.licenses="MIT" \
      org.opencontainers.image.version="${VERSION}" \
      org.opencontainers.image.revision="${REVISION}"
COPY --from=build /opt/market-spine /opt/market-spine
COPY scripts/schedule_finra.py scripts/schedule_prices.py /app/scripts/
# Group 0 may write: OpenShift runs the image as any uid, always with gid 0.
RUN mkdir -p /app/data && chgrp 0 /app/data && chmod 2775 /app/data
WORKDIR /app
ENV PATH=/opt/market-spine/bin:/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin \
    PYTHONUNBUFFERED=1 \
    PYTHONDONTWRITEBYTECODE=1
USER 10001:0
STOPSIGNAL SIGTERM
CMD ["market-spine", "--help"]
