"""Answers requests: scores, events, tasks. Never imports torch, onnx, training or export."""
