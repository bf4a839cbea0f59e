"""Records made by hand, for rules about what is made of them."""

from __future__ import annotations

from benchmarks.quality_plan import Plan
from benchmarks.quality_records import FitRecord, GraftRecord, TaskFigures, WayFigures

PLAN = Plan.model_validate(
    {
        "seeds": [0, 1],
        "trials": [{"learning_rate": 0.001}, {"learning_rate": 0.01}],
        "data": {
            "kuairand": {
                "config": "quick_shop.toml",
                "folder": "own",
                "tasks": ["click", "stay"],
                "graft_tasks": ["buy"],
                "graft_models": ["mptrec"],
                "model": {},
                "fit": {},
            }
        },
        "models": {"mmoe": {"mixer": "mmoe"}, "ple": {"mixer": "ple"}, "stem": {"mixer": "aftb"}},
    }
)


def fit_record(
    model: str, auc: float, *, trial: int = 0, seed: int = 0, score: float = 1.0
) -> FitRecord:
    """Both tasks at one AUC, its draws one hundredth around it."""
    figures = TaskFigures(
        auc=auc,
        gauc=auc,
        logloss=0.5,
        calibration_error=0.01,
        rows=100,
        positives=40,
        draws=tuple(auc + (n - 50) / 5000 for n in range(101)),
    )
    return FitRecord(
        data="kuairand",
        model=model,
        trial=trial,
        seed=seed,
        score=score,
        test={"click": figures, "stay": figures},
        parameters=1000,
        seconds=2.0,
        epochs=3,
        rows_per_s=100.0,
    )


def way(auc: float, seconds: float, against: tuple[float, float] | None) -> WayFigures:
    return WayFigures(
        auc=auc,
        interval=(auc - 0.01, auc + 0.01),
        gauc=None,
        logloss=0.3,
        parameters=100,
        seconds=seconds,
        against_joint=against,
        old_tasks={} if against is None else {"click": 0.0},
    )


def graft_record(prompt: float, seconds: float, seed: int = 0) -> GraftRecord:
    """Joint retraining at 0.8 in 100 s beside a prompt."""
    return GraftRecord(
        data="kuairand",
        model="mptrec",
        task="buy",
        seed=seed,
        backbone_parameters=1000,
        backbone_test={"click": 0.7},
        full=2000,
        ways={
            "joint": way(0.8, 100.0, None),
            "prompt (attention)": way(prompt, seconds, (prompt - 0.81, prompt - 0.79)),
        },
    )
