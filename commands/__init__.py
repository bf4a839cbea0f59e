"""What each verb of `taskgraft` does. taskgraft.py holds their forms and imports these when called.

Each file imports the packages of its own verbs only: `serve` needs no torch, `train` no onnx.
"""
