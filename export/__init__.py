"""A checkpoint to a bundle of ONNX graphs; a tuned prompt to a prompt file."""
