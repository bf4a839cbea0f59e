# The service on an NVIDIA GPU. onnxruntime-gpu 1.31 is built for CUDA 13 and cuDNN 9, so is the base.
#   docker build -f docker/service-gpu.Dockerfile -t taskgraft/service-gpu:dev .
#   docker run --gpus all ...
FROM nvidia/cuda:13.0.2-cudnn-runtime-ubuntu24.04 AS packages
RUN apt-get update \
    && apt-get install --yes --no-install-recommends python3 python3-pip python3-venv \
    && python3 -m venv /venv
COPY docker/service-gpu.txt /tmp/service.txt
RUN --mount=type=cache,target=/root/.cache/pip \
    /venv/bin/pip install --require-hashes --only-binary :all: -r /tmp/service.txt \
    && /venv/bin/pip uninstall --yes --quiet pip

FROM nvidia/cuda:13.0.2-cudnn-runtime-ubuntu24.04
RUN apt-get update \
    && apt-get install --yes --no-install-recommends python3 \
    && rm -rf /var/lib/apt/lists/* \
    && useradd --uid 10001 --no-create-home --shell /usr/sbin/nologin taskgraft \
    && install -d -o taskgraft -g taskgraft /state /models
COPY --from=packages /venv /venv
ENV PATH=/venv/bin:$PATH PYTHONDONTWRITEBYTECODE=1 PYTHONUNBUFFERED=1
# onnxruntime tells its makers about every session unless told not to.
ENV ORT_DISABLE_TELEMETRY=1
WORKDIR /app
COPY contract ./contract
COPY service ./service
COPY client ./client
COPY commands ./commands
COPY taskgraft.py ./
RUN python -m compileall -q . && python -c "import taskgraft, commands.serve, client"

ENV TASKGRAFT_FEATURE_STORE=embedded:/state/features TASKGRAFT_TASK_STORE=/state/tasks
# Refuse to start without a GPU that works. `cuda,cpu` falls back to the CPU instead, with a warning
# in the log and in the metric taskgraft_provider.
ENV TASKGRAFT_PROVIDERS=cuda
USER 10001:10001
EXPOSE 8000 8001
HEALTHCHECK --interval=5s --timeout=2s --start-period=120s --start-interval=1s CMD \
    ["python", "-c", "import urllib.request as u; u.urlopen('http://127.0.0.1:8000/readyz', timeout=2)"]
ENTRYPOINT ["python", "taskgraft.py"]
CMD ["serve", "/bundle"]
