"""The backbone: bottom x mixer x towers, built from the configuration.

    build_model(config, schema, tasks) -> MultiTaskModel, or ConfigError for what cannot be combined
    Inputs --forward--> Outputs (logits)      Inputs --represent--> Representation --head--> logit

Weight columns of every first layer stand as [user part | item part] (training/embedding.py).
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from torch import Tensor, nn

from contract.schema import FeatureSchema
from training.aitm import AitmMixer
from training.bottoms import PlainBottom, StemBottom, Views
from training.config import ModelConfig
from training.dtrn import DtrnBottom
from training.environment import EnvironmentClassifier
from training.errors import ConfigError
from training.esmm import FUNNEL, CtcvrHead, EsmmMixer, FunnelLink
from training.inputs import Inputs
from training.mixer import Gate, Link, Mixer
from training.mixer_moe import MixtureMixer, SharedBottomMixer
from training.mixer_mpt import MptMixer
from training.mixer_ple import LayeredMixer, LayerShape
from training.mlp import Layers, initialise
from training.prompt import PromptShape
from training.prompt_weights import id_columns
from training.representation import Representation
from training.split import Split
from training.towers import MptHead, TowerHead, Towers


@dataclass(frozen=True, slots=True)
class Outputs:
    """Logits, and for mpt in training what its environment game needs."""

    logits: Tensor  # (N, T)
    shared_logits: Tensor | None = None  # (N, T), the towers on the shared expert alone
    env_logprob: Tensor | None = None  # (N, T)

    def widened(self) -> Outputs:
        """In float32, as losses are taken; themselves if they are."""
        shared, logprob = self.shared_logits, self.env_logprob
        return Outputs(
            self.logits.float(),
            None if shared is None else shared.float(),
            None if logprob is None else logprob.float(),
        )


class MultiTaskModel(nn.Module):
    """One backbone with the towers of its T tasks."""

    def __init__(
        self,
        config: ModelConfig,
        schema: FeatureSchema,
        tasks: Sequence[str],
    ) -> None:
        super().__init__()
        self.config = config
        self.schema = schema
        self.tasks = tuple(tasks)
        self.bottom = _bottom(config, schema, len(tasks))
        width = self.bottom.user_width + self.bottom.item_width
        self.mixer = _mixer(config, width, len(tasks))
        # esmm's towers begin inside its mixer: only their last Linear is left here.
        tower_units = () if config.mixer == "esmm" else config.tower_units
        self.towers = Towers(len(tasks), self.mixer.width, tower_units)
        self.link = FunnelLink() if config.mixer == "esmm" else Link()
        self.classifier: EnvironmentClassifier | None = None
        if config.mixer == "mpt":
            self.classifier = EnvironmentClassifier(self.mixer.width, len(tasks))
        initialise(self, config.init)

    @property
    def table(self) -> Tensor:
        """The embedding table, (V, d) or (V, d * (T + 1))."""
        return self.bottom.embedding.table

    def forward(self, inputs: Inputs, alpha: float | None = None) -> Outputs:
        """Logits of all tasks.

        Args:
            inputs: U users and N rows.
            alpha: strength of the gradient reversal. If given, an mpt model adds shared_logits and
                env_logprob; without it, and in other models, they are None and cost nothing.
        """
        mixed = self.mixer.mix(self._views(inputs))
        logits = self.link(self.towers(Split.rows(mixed.specific)))
        if alpha is None or self.classifier is None or mixed.shared is None:
            return Outputs(logits)
        return Outputs(
            logits,
            shared_logits=self.towers(Split.rows(mixed.shared)),
            env_logprob=self.classifier.log_probabilities(mixed.shared, alpha),
        )

    def represent(self, inputs: Inputs, *, mixed: bool = True) -> Representation:
        """What heads and prompts consume; the same numbers that forward goes through.

        Args:
            inputs: U users and N rows.
            mixed: without it no expert runs, and shared and specific have width 0.
        """
        views = self._views(inputs)
        if not mixed:
            nothing = views.base.item.new_empty((len(inputs.row_user), 0))
            return Representation(
                views.base, nothing, nothing.unsqueeze(1), self.mixer.keys, None, inputs.item_ids
            )
        shared, specific = self.mixer.represent(views)
        by_row = specific.transpose(0, 1)  # (N, T, m)
        return Representation(
            views.base, shared, by_row, self.mixer.keys, views.events, inputs.item_ids
        )

    def mean_gates(self, inputs: Inputs) -> tuple[Gate, ...]:
        """Which experts each task hears, on average over these rows; none without gates."""
        return self.mixer.mean_gates(self._views(inputs), self.tasks)

    def head(self, task: int) -> nn.Module:
        """A frozen copy of one task's own parameters.

        Its forward takes Representation.tensors() and gives the task's logits (N,), equal to
        forward's to rounding.

        Raises:
            ConfigError: with rep_specific = "expert" the representation lacks what towers read.
        """
        if self.config.rep_specific == "expert":
            raise ConfigError(
                "rep_specific = 'expert' keeps the towers' input out of the representation;"
                " heads need 'pre_tower'"
            )
        if isinstance(self.mixer, MptMixer) and isinstance(self.bottom, PlainBottom):
            return MptHead(self.mixer, self.towers, task)
        if isinstance(self.link, FunnelLink) and task == 1:
            return CtcvrHead(self.towers)
        return TowerHead(self.towers, task)

    def prompt_shape(self) -> PromptShape:
        """The sizes a prompt head on this backbone must have."""
        return PromptShape(
            user_width=self.bottom.user_width,
            item_width=self.bottom.item_width,
            width=self.mixer.width,
            tasks=len(self.tasks),
            tower_units=self.config.tower_units,
            spans=self.bottom.spans,
            id_columns=id_columns(self.schema),
        )

    def bake(self) -> None:
        """Drop what only learning needs (DTRN's hypernetwork); scores do not change by a bit."""
        if isinstance(self.bottom, DtrnBottom):
            self.bottom.conditions.bake()

    def _views(self, inputs: Inputs) -> Views:
        views: Views = self.bottom(inputs)
        return views


def build_model(config: ModelConfig, schema: FeatureSchema, tasks: Sequence[str]) -> MultiTaskModel:
    """A freshly initialised model; torch's global seed decides its weights.

    Raises:
        ConfigError: the combination of model, schema and tasks is impossible.
    """
    if not tasks:
        raise ConfigError("a model needs at least one task that is not new")
    if config.mixer == "esmm" and len(tasks) < FUNNEL:
        raise ConfigError(
            f"esmm begins with two tasks, (click, conversion), but there is only {tasks[0]}"
        )
    return MultiTaskModel(config, schema, tasks)


Bottom = PlainBottom | StemBottom | DtrnBottom


def _bottom(config: ModelConfig, schema: FeatureSchema, tasks: int) -> Bottom:
    if config.bottom == "dtrn":
        return DtrnBottom(schema, config, tasks)
    if config.bottom == "stem":
        return StemBottom(schema, config, tasks)
    return PlainBottom(schema, config)


def _mixer(config: ModelConfig, width: int, tasks: int) -> Mixer:
    experts = Layers(config.expert_units, dropout=config.dropout)

    def gate(choices: int) -> Layers:
        return Layers(config.gate_units, out=choices, bias=config.gate_bias)

    match config.mixer:
        case "mpt":
            return MptMixer(tasks, width, experts, gate(2))
        case "shared_bottom":
            return SharedBottomMixer(tasks, width, experts)
        case "omoe" | "mmoe":
            per_task = config.mixer == "mmoe"
            choices = gate(config.shared_experts)
            return MixtureMixer(tasks, width, experts, choices, gate_per_task=per_task)
        case "cgc" | "ple" | "aftb":
            shape = LayerShape(
                tasks=tasks,
                specific=config.specific_experts,
                shared=config.shared_experts,
                experts=experts,
                gate=gate(0),
                all_forward=config.mixer == "aftb",
                stream="all" if config.mixer == "aftb" else config.ple_shared_gate,
                isolate=config.aftb_isolate_stream,
            )
            by_expert = config.rep_specific == "expert"
            return LayeredMixer(shape, width, config.layers, by_expert=by_expert)
        case "aitm":
            return AitmMixer(tasks, width, experts)
        case "esmm":
            return EsmmMixer(tasks, width, Layers(config.tower_units))
