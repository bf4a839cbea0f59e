"""Triton with its Python backend: `python triton_server.py MODEL PORT`.

The server and the backend's stub are those of the nvidia-pytriton wheel (no wheel carries Triton's
own ONNX Runtime backend), but asked without PyTriton's proxy between them: a model repository with
a model.py, as the Python backend's README shows, so that a request crosses one process less. The
stub is linked against libpython, which LD_LIBRARY_PATH names as "Installing PyTriton" advises.
One instance; no dynamic batching ("Batchers" in Triton's user guide): a request is a batch already,
so a user's row crosses once. Tensors cross in the protocol's binary form; metrics and gRPC are off.
"""

from __future__ import annotations

import os
import shutil
import sys
import sysconfig
from pathlib import Path

from plain_model import PlainModel
from pytriton.utils.distribution import get_libs_path, get_root_module_path, get_stub_path

_TYPES = {"tensor(int32)": "TYPE_INT32", "tensor(float)": "TYPE_FP32"}
_SHIPPED = get_root_module_path() / "tritonserver"


def main() -> None:
    model, port = Path(sys.argv[1]), sys.argv[2]
    repository, backends = model / "triton" / "models", model / "triton" / "backends"
    _write_repository(repository, model)
    _write_backend(backends / "python")
    binary = _SHIPPED / "bin" / "tritonserver"
    options = {
        "model-repository": repository,
        "backend-directory": backends,
        "http-address": "127.0.0.1",
        "http-port": port,
        "allow-grpc": "false",
        "allow-metrics": "false",
        "log-info": "false",
    }
    libraries = [get_libs_path(), sysconfig.get_config_var("LIBDIR")]
    environment = os.environ | {
        "LD_LIBRARY_PATH": ":".join(map(str, libraries)),
        "PATH": f"{Path(sys.executable).parent}:{os.environ['PATH']}",
    }
    arguments = [f"--{name}={value}" for name, value in options.items()]
    os.execve(binary, [str(binary), *arguments], environment)


def _write_repository(folder: Path, model: Path) -> None:
    plain = PlainModel(str(model))
    (folder / "plain" / "1").mkdir(parents=True, exist_ok=True)
    shutil.copy(Path(__file__).parent / "triton_model.py", folder / "plain" / "1" / "model.py")
    inputs = [_tensor(one.name, _TYPES[one.type], one.shape) for one in plain.inputs]
    (folder / "plain" / "config.pbtxt").write_text(
        f'backend: "python"\nmax_batch_size: 0\ninput [{", ".join(inputs)}]\n'
        f"output [{_tensor('scores', 'TYPE_FP32', [-1, -1])}]\n"
        f'parameters {{ key: "folder" value {{ string_value: "{model}" }} }}\n'
        "instance_group [{ kind: KIND_CPU count: 1 }]\n",
        encoding="utf-8",
    )


def _write_backend(folder: Path) -> None:
    shutil.copytree(_SHIPPED / "backends" / "python", folder, dirs_exist_ok=True)
    version = f"{sys.version_info.major}.{sys.version_info.minor}"
    shutil.copy(get_stub_path(version), folder)


def _tensor(name: str, kind: str, shape: list[int | str]) -> str:
    sizes = ", ".join(str(size) if isinstance(size, int) else "-1" for size in shape)
    return f'{{ name: "{name}" data_type: {kind} dims: [{sizes}] }}'


if __name__ == "__main__":
    main()
