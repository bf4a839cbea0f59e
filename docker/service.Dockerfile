# The service on a CPU: what `taskgraft serve` needs, and nothing that learns.
#   docker build -f docker/service.Dockerfile -t taskgraft/service:dev .
FROM python:3.11-slim-bookworm AS packages
RUN python -m venv --without-pip /venv
COPY docker/service.txt /tmp/service.txt
RUN --mount=type=cache,target=/root/.cache/pip \
    pip --python /venv/bin/python install --require-hashes --only-binary :all: -r /tmp/service.txt
# Tests, stubs, what makes models smaller and what colours source code: a sixth of all.
RUN cd /venv/lib/python3.11/site-packages \
    && find . -name tests -type d -prune -exec rm -rf {} + \
    && rm -rf numpy/f2py numpy/_core/include \
        onnxruntime/transformers onnxruntime/quantization onnxruntime/tools \
    && find . \( -name '*.pyi' -o -name '*.pyx' -o -name '*.pxd' -o -name '*.a' \) -delete \
    && find pygments/lexers -type f ! -name '__init__*' ! -name '_mapping*' -delete

FROM python:3.11-slim-bookworm
ENV PATH=/venv/bin:$PATH PYTHONDONTWRITEBYTECODE=1 PYTHONUNBUFFERED=1
# A served image installs nothing more.
RUN python -m pip uninstall --yes --quiet --root-user-action=ignore setuptools wheel pip \
    && useradd --uid 10001 --no-create-home --shell /usr/sbin/nologin taskgraft \
    && install -d -o taskgraft -g taskgraft /state /models
COPY --from=packages /venv /venv
# onnxruntime tells its makers about every session unless told not to.
ENV ORT_DISABLE_TELEMETRY=1
WORKDIR /app
COPY contract ./contract
COPY service ./service
COPY client ./client
COPY commands ./commands
COPY taskgraft.py ./
# An import of what is not here must fail now, not in production.
RUN python -m compileall -q . && python -c "import taskgraft, commands.serve, client"

# State of a service without Redis; mount a volume, or lose it with the container.
ENV TASKGRAFT_FEATURE_STORE=embedded:/state/features TASKGRAFT_TASK_STORE=/state/tasks
USER 10001:10001
EXPOSE 8000 8001
HEALTHCHECK --interval=5s --timeout=2s --start-period=60s --start-interval=1s CMD \
    ["python", "-c", "import urllib.request as u; u.urlopen('http://127.0.0.1:8000/readyz', timeout=2)"]
ENTRYPOINT ["python", "taskgraft.py"]
CMD ["serve", "/bundle"]
