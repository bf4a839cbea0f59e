# Every verb of taskgraft, learning included: for jobs, never for serving.
#   docker build -f docker/training.Dockerfile -t taskgraft/training:dev .
FROM python:3.11-slim-bookworm
# The build of torch is the index's affair: by default it is the one for NVIDIA cards. For a small
# image without them: --build-arg TORCH_INDEX=<PyTorch's index of CPU builds>
ARG TORCH=torch==2.13.0
ARG TORCH_INDEX=
RUN --mount=type=cache,target=/root/.cache/pip \
    pip install ${TORCH_INDEX:+--index-url "$TORCH_INDEX"} "$TORCH"
COPY docker/training.txt /tmp/training.txt
RUN --mount=type=cache,target=/root/.cache/pip \
    pip install --require-hashes --only-binary :all: -r /tmp/training.txt
RUN useradd --uid 10001 --create-home --shell /usr/sbin/nologin taskgraft \
    && install -d -o taskgraft -g taskgraft /models
ENV PYTHONDONTWRITEBYTECODE=1 PYTHONUNBUFFERED=1 PYTHONPATH=/app
# onnxruntime tells its makers about every session unless told not to.
ENV ORT_DISABLE_TELEMETRY=1
WORKDIR /app
COPY contract ./contract
COPY training ./training
COPY export ./export
COPY service ./service
COPY client ./client
COPY commands ./commands
COPY taskgraft.py ./
RUN python -m compileall -q . && python -c "import training, export.bundle, commands.train"
USER 10001:10001
WORKDIR /models
ENTRYPOINT ["python", "/app/taskgraft.py"]
