"""The learning half of the story: data, backbone, bundle, prompt, and the joint model beside it."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from commands.demo.claims import Claims
from commands.demo.people import People
from commands.export import bundle_tables
from commands.screen import Screen, figure, indented, interval, table
from commands.train import metrics_table
from export.bundle import export_bundle
from export.prompt import export_prompt
from training import recipes
from training.checkpoint import Checkpoint, write_prompt
from training.config import TrainConfig, read_config
from training.dataset import Prepared, prepare
from training.fit import FitResult, fit
from training.tune import TuneResult, tune

RECIPE, NEW = "movielens", "dislike"
LIKE_FLOOR, JOINT_MARGIN, MOST_SHARE = 0.78, 0.02, 0.10


@dataclass(frozen=True, slots=True)
class Workshop:
    """Where everything of the demo lies, and what all steps share."""

    screen: Screen
    claims: Claims
    data_dir: Path
    run_dir: Path

    @property
    def bundle(self) -> Path:
        return self.run_dir / "bundle"

    def say(self, text: str) -> None:
        self.screen.out.print(indented(text))

    def fetch(self) -> tuple[TrainConfig, Prepared, People]:
        """Step 1: real data."""
        files = recipes.get(RECIPE, self.data_dir)
        config = read_config(recipes.recipe(RECIPE))
        prepared = prepare(config, self.data_dir)
        people = People.read(self.data_dir / RECIPE)
        self.say(
            f"{len(people.ratings):,} ratings of {len(people.movies):,} movies, "
            f"{len(files)} files in {files[0].parent}, fetched by pip and checked by sha256"
        )
        splits = [("train", prepared.train), ("valid", prepared.valid), ("test", prepared.test)]
        rows = []
        for name, dataset in splits:
            rates = dataset.labels.mean(0).tolist()
            rows.append((name, len(dataset), *(f"{rate:.1%}" for rate in rates)))
        columns = ("split, in order of time", "ratings", *prepared.train.tasks)
        self.screen.out.print(table("", columns, rows))
        return config, prepared, people

    def train(self, config: TrainConfig, prepared: Prepared) -> FitResult:
        """Step 2: the backbone, on the tasks that are not new."""
        with self.screen.watching() as watcher:
            result = fit(config, prepared, run_dir=self.run_dir, progress=watcher)
        card = result.checkpoint.card
        self.say(
            f"{card.parameters:,} parameters, {result.epochs} epochs in {result.seconds:.1f} s "
            f"({result.rows_per_s:,.0f} rows/s), best epoch {result.best_epoch}"
        )
        self.screen.out.print(metrics_table("", card.metrics["test"]))
        found = card.metrics["test"]["like"].auc or 0.0
        self.claims.check(
            f"test AUC of like is at least {LIKE_FLOOR}", figure(found), holds=found >= LIKE_FLOOR
        )
        return result

    def export(self, checkpoint: Checkpoint, prepared: Prepared) -> None:
        """Step 3: graphs."""
        result = export_bundle(checkpoint, prepared.valid, self.bundle)
        _, graphs = bundle_tables(result)
        self.screen.out.print(graphs)
        tolerance = result.manifest.tolerance
        self.claims.check(
            f"the graphs score as PyTorch does, to {tolerance:.0e}",
            f"largest difference {result.parity:.1e}",
            holds=result.parity <= tolerance,
        )

    def tune(self, config: TrainConfig, checkpoint: Checkpoint, prepared: Prepared) -> Path:
        """Step 5: a prompt for the new task, and the joint model it is measured against."""
        task = next(task for task in config.tasks if task.name == NEW)
        with self.screen.watching(epochs=False) as watcher:
            tuned = tune(checkpoint, prepared, task, config.tune, progress=watcher)
        card = tuned.prompt.card
        self.say(
            f"{card.parameters:,} parameters trained in {tuned.seconds:.1f} s on the frozen "
            f"backbone; {tuned.compared:,} old predictions bit-equal afterwards"
        )
        self.say("the other way, for comparison: all three tasks trained jointly from the start")
        together = tuple(task.model_copy(update={"new": False}) for task in config.tasks)
        with self.screen.watching(epochs=False) as watcher:
            joint = fit(
                config.model_copy(update={"tasks": together}),
                prepared,
                run_dir=self.run_dir / "joint",
                progress=watcher,
            )
        self._compare(tuned, joint)
        prompt = write_prompt(self.run_dir / "prompts" / NEW, tuned.prompt)
        file = self.run_dir / "prompts" / f"{NEW}.safetensors"
        file.write_bytes(export_prompt(checkpoint, prompt, prepared.test, self.bundle))
        self.say(f"the prompt as a file: {file}, {file.stat().st_size / 1e3:.1f} kB")
        return file

    def _compare(self, tuned: TuneResult, joint: FitResult) -> None:
        card, joint_card = tuned.prompt.card, joint.checkpoint.card
        ours, theirs = card.metrics["test"], joint_card.metrics["test"][NEW]
        rows = [
            ("prompt", ours.auc, interval(ours.auc_interval), card.parameters, tuned.seconds),
            (
                "joint",
                theirs.auc,
                interval(theirs.auc_interval),
                joint_card.parameters,
                joint.seconds,
            ),
        ]
        columns = ("way", "test AUC", "95 %", "trained parameters", "time")
        self.screen.out.print(table("", columns, rows))
        self.claims.check(
            f"at most {MOST_SHARE:.0%} of the parameters were trained",
            f"{card.share:.1%}",
            holds=card.share <= MOST_SHARE,
        )
        prompt_auc, joint_auc = ours.auc or 0.0, theirs.auc or 1.0
        self.claims.check(
            f"AUC of {NEW} is at least joint retraining's - {JOINT_MARGIN}",
            f"{prompt_auc:.4f} against {joint_auc:.4f}, {prompt_auc - joint_auc:+.4f}",
            holds=prompt_auc >= joint_auc - JOINT_MARGIN,
        )
