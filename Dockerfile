# Four images: --target airflow, edge-api, operator or worker. docs/images.md describes them and how to build them.
ARG BASE_IMAGE=python:3.11-slim-bookworm

# Build tools. Later stages copy only tini and the package folders from the builder stages.
FROM ${BASE_IMAGE} AS builder
RUN apt-get update -qq \
    && apt-get install -y -qq --no-install-recommends binutils tini >/dev/null
# A package index other than PyPI, and uv's cache folder.
ARG PIP_INDEX_URL=""
ARG UV_CACHE_DIR=/root/.cache/uv
ENV UV_CACHE_DIR=${UV_CACHE_DIR} UV_LINK_MODE=copy UV_COMPILE_BYTECODE=1 UV_SYSTEM_CERTS=1 PATH=/opt/build/bin:${PATH}
COPY requirements/build.txt /requirements/
RUN python3 -m venv /opt/build \
    && pip install --quiet --no-cache-dir --require-hashes -r /requirements/build.txt
# /opt/venv has third-party packages, a large layer that rarely changes; /opt/edge has this project, a small one.
RUN uv venv --quiet --python "$(PATH=/usr/local/bin:/usr/bin command -v python3)" /opt/venv \
    && echo /opt/edge > "$(echo /opt/venv/lib/python3*/site-packages)/edge.pth"
COPY requirements/ /requirements/

FROM builder AS edge-api-packages
RUN --mount=type=cache,target=/root/.cache/uv /requirements/install.sh /requirements/edge-api.txt

# The operator sends plain JSON. It imports neither the Kubernetes client's generated API classes nor its models.
FROM builder AS operator-packages
RUN --mount=type=cache,target=/root/.cache/uv /requirements/install.sh /requirements/operator.txt \
    && cd /opt/venv/lib/python3*/site-packages/kubernetes \
    && rm -r client/api aio/client/api client/models/__pycache__ aio/client/models/__pycache__

# A worker does not need Airflow's UI files. The airflow image adds them again.
FROM builder AS worker-packages
RUN --mount=type=cache,target=/root/.cache/uv /requirements/install.sh /requirements/worker.txt \
    && mkdir /opt/airflow-ui \
    && cp -r --parents /opt/venv/lib/python3*/site-packages/airflow/ui /opt/airflow-ui \
    && rm -r /opt/venv/lib/python3*/site-packages/airflow/ui

# The fleet page inside Airflow's UI.
FROM builder AS fleet-page
RUN pip install --quiet --no-cache-dir --require-hashes --target /opt/node -r /requirements/ui.txt
COPY provider/ui /src/provider/ui
# A registry other than npm's own.
ARG NPM_REGISTRY=""
RUN --mount=type=cache,target=/root/.npm \
    if [ -n "${NPM_REGISTRY}" ]; then export NPM_CONFIG_REGISTRY="${NPM_REGISTRY}"; fi \
    && export NODE_OPTIONS=--use-system-ca \
    && /src/provider/ui/build.sh packages /opt/node \
    && /src/provider/ui/build.sh bundle /opt/node

FROM builder AS project
# The parts link to ../LICENSE, so that it is in each wheel.
COPY LICENSE /src/LICENSE
COPY protocol /src/protocol
COPY store /src/store
COPY edge_api /src/edge_api
COPY provider /src/provider
COPY --from=fleet-page /src/provider/src/edge_provider/ui/static /src/provider/src/edge_provider/ui/static
COPY worker_image /src/worker_image
COPY operator /src/operator
WORKDIR /wheels
RUN for part in /src/*/; do uv build --quiet --wheel --no-build-isolation --out-dir . "$part"; done
ENV INSTALL="uv pip install --quiet --offline --no-deps --python /opt/venv/bin/python --target /opt/edge"

FROM project AS edge-api-project
RUN $INSTALL airflow_edge_protocol-*.whl airflow_edge_store-*.whl airflow_edge_api-*.whl

FROM project AS operator-project
RUN $INSTALL airflow_edge_protocol-*.whl airflow_edge_operator-*.whl

FROM project AS worker-project
RUN $INSTALL airflow_edge_protocol-*.whl airflow_edge_worker-*.whl

FROM project AS airflow-project
RUN --mount=type=cache,target=/root/.cache/uv /requirements/install.sh /requirements/airflow.txt --target /opt/edge
RUN $INSTALL airflow_edge_protocol-*.whl airflow_edge_store-*.whl airflow_edge_provider-*.whl

# The base of all four images: an unprivileged user, and an init that reaps zombies and forwards signals.
FROM ${BASE_IMAGE} AS base
RUN groupadd --gid 50000 edge \
    && useradd --uid 50000 --gid 50000 --home-dir /home/edge --create-home --shell /usr/sbin/nologin edge
COPY --from=builder /usr/bin/tini /usr/bin/tini
ENV PATH=/opt/edge/bin:/opt/venv/bin:${PATH} PYTHONUNBUFFERED=1
ENTRYPOINT ["/usr/bin/tini", "--"]

FROM base AS edge-api
COPY --from=edge-api-packages /opt/venv /opt/venv
COPY --from=edge-api-project /opt/edge /opt/edge
USER 50000:50000
CMD ["edge-api", "serve"]
ARG VERSION=0.0.0
ARG REVISION=unknown
LABEL org.opencontainers.image.title="airflow-edge/edge-api" \
    org.opencontainers.image.description="The service that edge workers connect to" \
    org.opencontainers.image.licenses="Apache-2.0" \
    org.opencontainers.image.version="${VERSION}" org.opencontainers.image.revision="${REVISION}"

FROM base AS operator
COPY --from=operator-packages /opt/venv /opt/venv
COPY --from=operator-project /opt/edge /opt/edge
USER 50000:50000
CMD ["edge-operator", "run"]
ARG VERSION=0.0.0
ARG REVISION=unknown
LABEL org.opencontainers.image.title="airflow-edge/operator" \
    org.opencontainers.image.description="Kubernetes operator for a fleet of edge workers" \
    org.opencontainers.image.licenses="Apache-2.0" \
    org.opencontainers.image.version="${VERSION}" org.opencontainers.image.revision="${REVISION}"

FROM base AS worker
COPY --from=worker-packages /opt/venv /opt/venv
COPY --from=worker-project /opt/edge /opt/edge
USER 50000:50000
CMD ["edge-worker", "run"]
ARG VERSION=0.0.0
ARG REVISION=unknown
LABEL org.opencontainers.image.title="airflow-edge/worker" \
    org.opencontainers.image.description="Edge worker: pull agent and warm runner with the Task SDK" \
    org.opencontainers.image.licenses="Apache-2.0" \
    org.opencontainers.image.version="${VERSION}" org.opencontainers.image.revision="${REVISION}"

# Airflow's components need a worker's packages and few more, so both images share their largest layer.
FROM base AS airflow
COPY --from=worker-packages /opt/venv /opt/venv
COPY --from=worker-packages /opt/airflow-ui/ /
RUN mkdir /opt/airflow && chown 50000:50000 /opt/airflow
ENV AIRFLOW_HOME=/opt/airflow
COPY --from=airflow-project /opt/edge /opt/edge
USER 50000:50000
CMD ["airflow", "version"]
ARG VERSION=0.0.0
ARG REVISION=unknown
LABEL org.opencontainers.image.title="airflow-edge/airflow" \
    org.opencontainers.image.description="Apache Airflow with the edge executor" \
    org.opencontainers.image.licenses="Apache-2.0" \
    org.opencontainers.image.version="${VERSION}" org.opencontainers.image.revision="${REVISION}"
