"""The pages run: their commands, their Python, their TOML, and what they show."""
