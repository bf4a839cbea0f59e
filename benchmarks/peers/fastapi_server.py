"""Plain FastAPI and ONNX Runtime: `python fastapi_server.py MODEL PORT`.

uvicorn[standard] (uvloop, httptools), one worker per core, as FastAPI's deployment guide advises
(https://fastapi.tiangolo.com/deployment/server-workers/). Bytes in, bytes out: no JSON is parsed.
"""

from __future__ import annotations

import sys

import uvicorn
from fastapi import FastAPI, Request, Response
from plain_model import PlainModel
from safetensors.numpy import load

app = FastAPI()
model = PlainModel(sys.argv[1])


@app.post("/score")
async def score(request: Request) -> Response:
    scores = model.score(load(await request.body()))
    return Response(scores.tobytes(), media_type="application/octet-stream")


if __name__ == "__main__":
    uvicorn.run(app, host="127.0.0.1", port=int(sys.argv[2]), log_level="warning", access_log=False)
