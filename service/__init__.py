"""Answers requests: a bundle and a feature store behind REST, tasks grafted while it runs."""
