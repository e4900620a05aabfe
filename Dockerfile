# One image for the control plane and for every Ray node: the code that a node runs must be the control plane's own.

FROM node:22-slim AS page
WORKDIR /page
COPY service/page/package.json service/page/package-lock.json service/page/.npmrc ./
RUN npm ci
COPY service/page ./
RUN npm run build && npm sbom --sbom-format cyclonedx --package-lock-only > sbom-page.json


FROM python:3.11-slim AS build
ENV UV_PYTHON_DOWNLOADS=never UV_LINK_MODE=copy UV_NO_CACHE=1
RUN pip install --no-cache-dir --disable-pip-version-check uv==0.13.9
WORKDIR /build

# Dependencies first: they change seldom, and this layer is then kept.
COPY requirements.lock ./
RUN uv venv --no-project /opt/chainrule \
    && uv pip install --python /opt/chainrule --compile-bytecode --require-hashes -r requirements.lock

# The build backend comes from the development lock, hashes checked; none of it gets into the image.
COPY requirements-dev.lock pyproject.toml README.md LICENSE ./
COPY client client
COPY shared shared
COPY workers workers
COPY service service
COPY --from=page /page/dist service/page/dist
RUN for package in . client; do \
        uv build --wheel --build-constraints requirements-dev.lock --require-hashes --out-dir dist "$package" || exit 1; \
    done \
    && uv pip install --python /opt/chainrule --compile-bytecode --no-deps dist/*.whl

# What is in the image, told by what is there; what tells it comes from the development lock, and stays behind.
COPY --from=page /page/sbom-page.json /opt/sbom/
RUN uv venv --no-project /tmp/lister \
    && uv pip install --python /tmp/lister --require-hashes --constraints requirements-dev.lock cyclonedx-bom \
    && /tmp/lister/bin/cyclonedx-py environment /opt/chainrule --output-file /opt/sbom/sbom-service.json


FROM python:3.11-slim
# A fixed number, so that a volume shared by several machines has one owner.
RUN groupadd --gid 10001 chainrule \
    && useradd --uid 10001 --gid 10001 --create-home chainrule \
    && install -d -o chainrule -g chainrule -m 0700 /var/lib/chainrule \
    && install -d -o chainrule -g chainrule /var/cache/chainrule
COPY --from=build /opt/chainrule /opt/chainrule
COPY --from=build /opt/sbom /usr/local/share/chainrule

# numba keeps compiled kernels beside the source when it can; here the source belongs to root.
ENV PATH=/opt/chainrule/bin:$PATH \
    PYTHONUNBUFFERED=1 \
    NUMBA_CACHE_DIR=/var/cache/chainrule \
    RAY_USAGE_STATS_ENABLED=0 \
    CHAINRULE_HOST=0.0.0.0 \
    CHAINRULE_PORT=8400 \
    CHAINRULE_DATA_DIR=/var/lib/chainrule

USER chainrule
WORKDIR /home/chainrule
# For the CPU of the machine that builds the image; on another kind the first process compiles again.
RUN python -m shared.warmup
VOLUME /var/lib/chainrule
EXPOSE 8400
STOPSIGNAL SIGTERM
HEALTHCHECK --interval=10s --timeout=5s --start-period=20s --retries=3 \
    CMD ["python", "-c", "import http.client, os, sys; \
c = http.client.HTTPConnection('127.0.0.1', int(os.environ['CHAINRULE_PORT']), timeout=4); \
c.request('GET', '/healthz'); sys.exit(c.getresponse().status != 200)"]
CMD ["chainrule", "serve"]
