"""What training, export and service agree on: schema, lookups, manifest, bundle, prompt file.

Nothing here imports torch, onnx, onnxruntime, fastapi or redis.
"""
