"""What can go wrong while learning.

TrainingError
├── ConfigError      the TOML file
├── DataError        the log or its side tables: a column, a type, an empty split, a one-class task
└── CheckpointError  a checkpoint that is damaged, or belongs to another configuration
"""


class TrainingError(Exception):
    """A failure the user can mend; the message says how."""


class ConfigError(TrainingError):
    """The configuration file cannot be read or says something impossible."""


class DataError(TrainingError):
    """The data does not hold what the configuration promises."""


class CheckpointError(TrainingError):
    """A checkpoint is damaged or belongs to another configuration."""
