"""One TOML file describes one model: data, tasks, features, model, fit and tune.

read_config(path) -> TrainConfig, or ConfigError that names the key. Every section is frozen and
refuses unknown keys: a misspelt switch must not silently train another model.
"""

from __future__ import annotations

import tomllib
from pathlib import Path
from typing import Annotated, Literal

from pydantic import Field, ValidationError, model_validator

from contract.schema import TaskName
from training.data_config import (
    DataConfig,
    FeatureConfig,
    HistoryConfig,
    Section,
    SplitConfig,
    check_history,
    check_stream,
)
from training.errors import ConfigError

Units = tuple[Annotated[int, Field(ge=1)], ...]
Rate = Annotated[float, Field(ge=0.0, allow_inf_nan=False)]
Dropout = Annotated[float, Field(ge=0.0, lt=1.0)]
Decay = Annotated[float, Field(ge=0.0, lt=1.0)]
# What l2_embedding = "auto" is: so much over the training rows, at most (docs/decisions/0037).
AUTO_L2_ROWS, AUTO_L2_MOST = 2_000.0, 0.02
Reads = Literal["all", "mean", "h", "events"]  # of a frozen backbone (training/frozen.py)


class TaskConfig(Section):
    """A task: its label as a Polars SQL expression over the log; a null label is masked.

    new = true keeps the task out of the backbone: it is for `taskgraft tune`.
    """

    name: TaskName
    label: str
    new: bool = False
    weight: float = Field(default=1.0, gt=0.0)


class GanConfig(Section):
    """MPT-Rec's environment game (MPT-Rec, arXiv 2408.17214): weights of the two extra losses.

    shared_weight is c_s, environment_weight is c_e; both 0 switch the game off.
    """

    shared_weight: Rate = 0.9
    environment_weight: Rate = 0.1
    env_source: Literal["shared", "fused"] = "shared"
    env_normalise: Literal["none", "rank"] = "none"
    env_interval: int = Field(default=2, ge=1)
    grl_ramp: Literal["monotone", "legacy", "constant"] = "monotone"


class DtrnConfig(Section):
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

    @model_validator(mode="after")
    def _heads_divide_width(self) -> DtrnConfig:
        if self.width % self.heads:
            raise ValueError(f"width {self.width} must be a multiple of heads {self.heads}")
        return self


Mixer = Literal["shared_bottom", "omoe", "mmoe", "cgc", "ple", "aftb", "mpt", "aitm", "esmm"]
LAYERED = ("cgc", "ple", "aftb")  # experts of each task's own beside shared ones


class ModelConfig(Section):
    """bottom x mixer x tower. Unset switches take the default of the named mixer.

    shared_experts is S, and for omoe and mmoe their number of experts E. layers stacks cgc layers
    (ple) or aftb layers. dropout has one rate per expert unit, or is empty. history_counts makes
    the lengths of a user's histories dense inputs; without histories it says nothing.
    """

    bottom: Literal["shared", "stem", "dtrn"] = "shared"
    mixer: Mixer = "mpt"
    embedding_dim: int = Field(default=16, ge=1)
    history_counts: bool = True
    expert_units: Units = Field(default=(128, 64), min_length=1)
    tower_units: Units = (64, 32)
    gate_units: Units = ()
    gate_bias: bool = False
    specific_experts: int = Field(default=1, ge=1)
    shared_experts: int = Field(default=1, ge=1)
    layers: int = Field(default=1, ge=1)
    dropout: tuple[Dropout, ...] = ()
    init: Literal["torch", "xavier"] = "xavier"
    rep_specific: Literal["pre_tower", "expert"] = "pre_tower"
    ple_shared_gate: Literal["all", "shared"] = "all"
    aftb_isolate_stream: bool = False
    aitm_hinge: Rate = 0.6
    esmm_force: bool = False
    gan: GanConfig = GanConfig()
    dtrn: DtrnConfig = DtrnConfig()

    @model_validator(mode="before")
    @classmethod
    def _defaults_of_mixer(cls, values: object) -> object:
        """The fields above default to MPT-Rec's; the other models follow the STEM family."""
        if not isinstance(values, dict) or values.get("mixer", "mpt") == "mpt":
            return values
        family: dict[str, object] = {"gate_units": (128, 64), "gate_bias": True}
        if values["mixer"] in ("omoe", "mmoe", *LAYERED):
            family["shared_experts"] = 8
        return family | values

    @model_validator(mode="after")
    def _possible(self) -> ModelConfig:
        if self.dropout and len(self.dropout) != len(self.expert_units):
            raise ValueError(
                f"dropout has {len(self.dropout)} rates for {len(self.expert_units)} expert units;"
                " give one rate per unit, or none"
            )
        if self.mixer in ("aitm", "esmm") and self.bottom != "shared":
            raise ValueError(f"{self.mixer} reads the plain input: bottom must be 'shared'")
        if self.mixer == "esmm" and not self.tower_units:
            raise ValueError("esmm needs tower_units: its representation is their last layer")
        if self.mixer == "mpt" and self.shared_experts != 1:
            raise ValueError("mpt has one shared expert: shared_experts must be 1")
        if self.mixer not in LAYERED and self.specific_experts != 1:
            raise ValueError(f"{self.mixer} takes no specific_experts; cgc, ple and aftb do")
        if self.mixer not in ("ple", "aftb") and self.layers != 1:
            raise ValueError(f"{self.mixer} has one layer; ple and aftb stack several")
        if self.mixer not in LAYERED and self.rep_specific == "expert":
            raise ValueError("rep_specific = 'expert' needs specific experts: cgc, ple or aftb")
        return self


class FitConfig(Section):
    """Stage 1. l2_embedding and l2_network are lambda_emb and lambda_dnn.

    l2_embedding = "auto" is min(2,000 / rows of the training split, .02): a table is held back less
    the more there is to learn from. 0 lets it learn rare values by heart.
    l2_family picks which weights l2_network reaches (training/losses.py). average, if not 0, judges
    and keeps the running mean of the weights with that decay per step (training/average.py).
    precision is that of the training pass; weights, validation and checkpoint are float32
    (training/device.py).
    """

    epochs: int = Field(default=30, ge=1)
    patience: int = Field(default=5, ge=1)
    batch_size: int = Field(default=2048, ge=1)
    learning_rate: float = Field(default=1e-3, gt=0.0)
    l2_embedding: Rate | Literal["auto"] = "auto"
    l2_network: Rate = 0.0
    l2_family: Literal["mptrec", "stem"] = "mptrec"
    l2_scope: Literal["all", "batch_rows"] = "all"
    clip_norm: float | None = None
    average: Decay = 0.0
    shuffle: Literal["rows", "requests", "off"] = "rows"
    early_stop: str = "sum"
    history_dropout: Dropout = 0.0
    device: Literal["auto", "cpu", "cuda"] = "auto"
    precision: Literal["fp32", "bf16"] = "fp32"
    seed: int = 0

    def for_rows(self, rows: int) -> FitConfig:
        """The same with l2_embedding as a number, for so many training rows."""
        if self.l2_embedding != "auto":
            return self
        strength = min(AUTO_L2_ROWS / max(rows, 1), AUTO_L2_MOST)
        return self.model_copy(update={"l2_embedding": strength})


class TuneConfig(Section):
    """Stage 2: one new task's prompt on the frozen backbone; tau scales its attention.

    expert_units, if any, are the hidden units of an expert of the new task's own
    (training/prompt_expert.py), which reads all of h but the fields in expert_without; with fusion
    "own" the tower reads nothing else. item_weights names item fields of which each value gets a
    weight (training/prompt_weights.py). tower_units are the backbone's unless given. dtrn
    conditions a DTRN backbone on the new task (training/dtrn_prompt.py). l2_network is of the tower
    and l2_embedding of the item weights; average is as in fit. What a bundle is exported with
    decides which prompts it takes.
    """

    fusion: Literal["attention", "uniform", "similarity", "own"] = "attention"
    tau: float = Field(default=150.0, gt=0.0)
    prompt_gate: Literal["learned", "fixed"] = "learned"
    prompt_keys: Literal["auto", "frozen", "trainable"] = "auto"
    expert_units: Units = ()
    expert_without: tuple[str, ...] = ()
    item_weights: tuple[str, ...] = ()
    tower_units: Units | None = None
    dtrn: bool = False
    epochs: int = Field(default=30, ge=1)
    patience: int = Field(default=5, ge=1)
    batch_size: int = Field(default=2048, ge=1)
    learning_rate: float = Field(default=1e-3, gt=0.0)
    l2_embedding: Rate = 0.0
    l2_network: Rate = 0.0
    average: Decay = 0.0
    seed: int = 0

    @property
    def reads(self) -> Reads:
        """What such a prompt reads of its backbone."""
        if self.dtrn:
            return "events"
        if self.fusion == "own":
            return "h"
        return "mean" if self.fusion == "uniform" else "all"

    @model_validator(mode="after")
    def _possible(self) -> TuneConfig:
        if not self.expert_units and (self.fusion == "own" or self.expert_without):
            raise ValueError(
                "fusion = 'own' and expert_without are of an expert; give tune.expert_units"
            )
        if self.dtrn and (self.expert_without or self.item_weights):
            raise ValueError("a DTRN prompt takes neither expert_without nor item_weights")
        if self.l2_embedding and not self.item_weights:
            raise ValueError("tune.l2_embedding is of item_weights, and there are none; name some")
        return self


class TrainConfig(Section):
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

    def seeded(self, seed: int) -> TrainConfig:
        """The same with another seed of stage 1."""
        fit = self.fit.model_copy(update={"seed": seed})
        return self.model_copy(update={"fit": fit})

    def with_new_task(self, name: str, label: str) -> TrainConfig:
        """The same with a task to tune, in place of one of that name."""
        others = tuple(task for task in self.tasks if task.name != name)
        new = TaskConfig(name=name, label=label, new=True)
        return self.model_copy(update={"tasks": (*others, new)})

    @model_validator(mode="after")
    def _consistent(self) -> TrainConfig:
        names = [task.name for task in self.tasks]
        if len(set(names)) != len(names):
            raise ValueError(f"a task name stands twice: {sorted(names)}")
        if all(task.new for task in self.tasks):
            raise ValueError("every task is new: the backbone needs at least one that is not")
        if self.split.by in ("time", "boundaries", "user_time") and self.data.time is None:
            raise ValueError(f'split by = "{self.split.by}" needs data.time')
        if self.split.by == "user_time" and self.data.user_id is None:
            raise ValueError('split by = "user_time" needs data.user_id')
        if self.data.stream:
            check_stream(self.split, self.history, self.fit.shuffle)
        if self.history is not None:
            check_history(self.data, self.history)
        elif self.data.prior is not None:
            raise ValueError("data.prior seeds behaviour sequences, but there is no history")
        return self


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
