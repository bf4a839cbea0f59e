"""Logs to a backbone checkpoint; a frozen backbone and new labels to a prompt."""
