import pytest
import torch

from tests.training.synthetic import OLD, Fitted
from training.evaluate import by_request, evaluate, predict
from training.metrics import Resampling, auc


def test_predictions_stand_in_the_order_of_the_data(
    fitted: Fitted, monkeypatch: pytest.MonkeyPatch
) -> None:
    model, dataset = fitted.result.checkpoint.model, fitted.prepared.valid
    monkeypatch.setattr("training.evaluate.EVAL_BATCH", 64)
    found = predict(model, dataset, OLD).logits
    rows = torch.tensor([5, 700, 1])
    with torch.no_grad():
        torch.testing.assert_close(found[rows], model(dataset.batch(rows, OLD).inputs).logits)


def test_chunks_hold_every_row_once_and_requests_whole(fitted: Fitted) -> None:
    dataset = fitted.prepared.valid
    rows = torch.cat(by_request(dataset, 100))
    assert torch.equal(rows.sort().values, torch.arange(len(dataset)))
    assert len(torch.unique_consecutive(dataset.requests[rows])) == len(
        torch.unique(dataset.requests)
    )


def test_predicting_leaves_the_models_mode_as_it_was(fitted: Fitted) -> None:
    model = fitted.result.checkpoint.model
    for training in (True, False):
        model.train(training)
        predict(model, fitted.prepared.valid, OLD)
        assert model.training is training


def test_metrics_are_those_of_each_tasks_own_labels(fitted: Fitted) -> None:
    model, dataset = fitted.result.checkpoint.model, fitted.prepared.test
    found = evaluate(model, dataset, OLD, Resampling(resamples=50))
    logits = predict(model, dataset, OLD).logits.numpy()
    for place, task in enumerate(OLD):
        labels = dataset.labels[:, dataset.tasks.index(task)].numpy()
        metrics = found[task]
        assert metrics.auc == pytest.approx(auc(labels, logits[:, place]), abs=1e-9)
        assert metrics.auc_interval is not None
        assert metrics.auc is not None
        assert metrics.auc_interval[0] < metrics.auc < metrics.auc_interval[1]
        assert metrics.gauc is not None


def test_the_shared_experts_own_predictions_come_when_asked_for(fitted: Fitted) -> None:
    model, dataset = fitted.result.checkpoint.model, fitted.prepared.valid
    assert predict(model, dataset, OLD).shared_logits is None
    both = predict(model, dataset, OLD, shared=True)
    assert both.shared_logits is not None
    assert both.shared_logits.shape == both.logits.shape
    assert not torch.equal(both.shared_logits, both.logits)
