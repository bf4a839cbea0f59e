"""One TOML file describes one model: data, tasks, features, model, fit and tune.

read_config(path) -> TrainConfig, or ConfigError that names the key. Every section is frozen and
refuses unknown keys: a misspelt switch must not silently train another model.
"""

from __future__ import annotations

import tomllib
from pathlib import Path
from typing import Annotated, Literal

from pydantic import BaseModel, ConfigDict, Field, ValidationError

from contract.schema import Name, RawType, Side, TaskName
from training.errors import ConfigError

Units = tuple[Annotated[int, Field(ge=1)], ...]
Rate = Annotated[float, Field(ge=0.0, allow_inf_nan=False)]
Dropout = Annotated[float, Field(ge=0.0, lt=1.0)]


class _Section(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid")


# --- data ---------------------------------------------------------------------------------------


class TableConfig(_Section):
    """A side table (users or items), joined to the log by its key column."""

    path: str
    key: str
    derive: dict[Name, str] = {}


class DataConfig(_Section):
    """Where the log is and which of its columns say who, what and when.

    Paths are relative to the data folder given on the command line; globs of Parquet or CSV shards
    are fine. derive adds columns by Polars SQL expressions, where keeps rows, unique drops repeats.
    """

    log: str
    user_id: str
    item_id: str | None = None
    time: str | None = None
    derive: dict[Name, str] = {}
    where: str | None = None
    unique: bool = True
    users: TableConfig | None = None
    items: TableConfig | None = None


class SplitConfig(_Section):
    """How rows become train, validation and test.

    time: the log in order of time, cut at the two shares (rows of one time stay together).
    boundaries: cut at two times: train < valid_from <= validation < test_from <= test.
    user_time: each user's own rows in order of time, cut at the shares.
    column: the split column holds "train", "valid" or "test".
    random: rows at random by seed; only where the data has no time.
    """

    by: Literal["time", "boundaries", "user_time", "column", "random"] = "time"
    valid: float = Field(default=0.1, gt=0.0, lt=1.0)
    test: float = Field(default=0.1, gt=0.0, lt=1.0)
    valid_from: int | float | str | None = None
    test_from: int | float | str | None = None
    column: str | None = None
    seed: int = 0


class TaskConfig(_Section):
    """A task: its label as a Polars SQL expression over the log; a null label is masked.

    new = true keeps the task out of the backbone: it is for `taskgraft tune`.
    """

    name: TaskName
    label: str
    new: bool = False
    weight: float = Field(default=1.0, gt=0.0)


class FeatureConfig(_Section):
    """One input column. values is a separator or none (a list column) for multivalued fields."""

    name: Name
    kind: Literal["categorical", "multivalued", "dense"]
    side: Side
    column: str | None = None
    type: RawType = "string"
    vocabulary: Name | None = None
    min_count: int = Field(default=1, ge=1)
    max_values: int = Field(default=8, ge=1, le=1024)
    separator: str | None = None


class BehaviourConfig(_Section):
    """One behaviour sequence: the user's earlier events for which the SQL condition holds."""

    name: Name
    where: str


class HistoryConfig(_Section):
    """The behaviour sequences and the item fields that describe each event, item id first."""

    length: int = Field(default=50, ge=1, le=4096)
    fields: tuple[Name, ...]
    behaviours: tuple[BehaviourConfig, ...] = Field(min_length=1)


# --- model --------------------------------------------------------------------------------------


class GanConfig(_Section):
    """MPT-Rec's environment game (MPT-Rec, arXiv 2408.17214): weights of the two extra losses.

    shared_weight is c_s, environment_weight is c_e; both 0 switch the game off.
    """

    shared_weight: Rate = 0.9
    environment_weight: Rate = 0.1
    env_source: Literal["shared", "fused"] = "shared"
    env_normalise: Literal["none", "rank"] = "none"
    env_interval: int = Field(default=2, ge=1)
    grl_ramp: Literal["monotone", "legacy", "constant"] = "monotone"


class DtrnConfig(_Section):
    """The task- and behaviour-conditioned transformer of DTRN as formulated in docs/models."""

    width: int = Field(default=32, ge=1)
    heads: int = Field(default=2, ge=1)
    blocks: int = Field(default=1, ge=1)
    feed_forward: int | None = None
    condition_width: int = Field(default=16, ge=1)
    hyper_width: int = Field(default=32, ge=1)
    pooling: Literal["target", "mean"] = "target"
    trm: Literal["field", "element", "off"] = "field"
    trm_act: Literal["2sigmoid", "sigmoid"] = "2sigmoid"


class ModelConfig(_Section):
    """bottom x mixer x tower. Unset switches take the default of the named mixer."""

    bottom: Literal["shared", "stem", "dtrn"] = "shared"
    mixer: Literal["shared_bottom", "omoe", "mmoe", "ple", "aftb", "mpt", "aitm", "esmm"] = "mpt"
    embedding_dim: int = Field(default=16, ge=1)
    expert_units: Units = (128, 64)
    tower_units: Units = (64, 32)
    gate_units: tuple[int, ...] = ()
    gate_bias: bool = False
    specific_experts: int = Field(default=1, ge=1)
    shared_experts: int = Field(default=1, ge=1)
    layers: int = Field(default=1, ge=1)
    dropout: tuple[Dropout, ...] = ()
    init: Literal["torch", "xavier"] = "torch"
    rep_specific: Literal["pre_tower", "expert"] = "pre_tower"
    ple_shared_gate: Literal["all", "shared"] = "all"
    aftb_isolate_stream: bool = False
    aitm_hinge: Rate = 0.6
    esmm_force: bool = False
    gan: GanConfig = GanConfig()
    dtrn: DtrnConfig = DtrnConfig()


class FitConfig(_Section):
    """Stage 1. l2_embedding and l2_network are lambda_emb and lambda_dnn.

    l2_family picks which weights l2_network reaches (training/losses.py).
    """

    epochs: int = Field(default=30, ge=1)
    patience: int = Field(default=5, ge=1)
    batch_size: int = Field(default=2048, ge=1)
    learning_rate: float = Field(default=1e-3, gt=0.0)
    l2_embedding: Rate = 0.0
    l2_network: Rate = 0.0
    l2_family: Literal["mptrec", "stem"] = "mptrec"
    l2_scope: Literal["all", "batch_rows"] = "all"
    clip_norm: float | None = None
    shuffle: Literal["rows", "requests", "off"] = "rows"
    early_stop: str = "sum"
    history_dropout: Dropout = 0.0
    seed: int = 0


class TuneConfig(_Section):
    """Stage 2: one new task's prompt on the frozen backbone; tau scales its attention."""

    fusion: Literal["attention", "uniform", "similarity"] = "attention"
    tau: float = Field(default=150.0, gt=0.0)
    prompt_gate: Literal["learned", "fixed"] = "learned"
    prompt_keys: Literal["auto", "frozen", "trainable"] = "auto"
    epochs: int = Field(default=30, ge=1)
    patience: int = Field(default=5, ge=1)
    batch_size: int = Field(default=2048, ge=1)
    learning_rate: float = Field(default=1e-3, gt=0.0)
    l2_network: Rate = 0.0
    seed: int = 0


class TrainConfig(_Section):
    """The whole file."""

    name: TaskName
    data: DataConfig
    split: SplitConfig = SplitConfig()
    tasks: tuple[TaskConfig, ...] = Field(min_length=1)
    features: tuple[FeatureConfig, ...] = Field(min_length=1)
    history: HistoryConfig | None = None
    model: ModelConfig = ModelConfig()
    fit: FitConfig = FitConfig()
    tune: TuneConfig = TuneConfig()


def read_config(path: Path) -> TrainConfig:
    """Read a TOML configuration.

    Raises:
        ConfigError: no such file, not TOML, or a key that is unknown, missing or out of range.
    """
    try:
        values = tomllib.loads(path.read_text(encoding="utf-8"))
    except OSError as err:
        raise ConfigError(f"cannot read {path}: {err.strerror}") from err
    except (tomllib.TOMLDecodeError, UnicodeDecodeError) as err:
        raise ConfigError(f"{path} is not valid TOML: {err}") from err
    try:
        return TrainConfig.model_validate(values)
    except ValidationError as err:
        first = err.errors()[0]
        where = ".".join(str(part) for part in first["loc"]) or "the file"
        raise ConfigError(
            f"{path}: {where}: {first['msg']} ({err.error_count()} problem(s) in all)"
        ) from err
