from types import SimpleNamespace

import numpy as np
import pytest
import torch
from sklearn.linear_model import LogisticRegression, Ridge
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler
from torch import nn

from agwm.errors import UserError
from agwm.method import build_method
from agwm.models.probe import MeanPooled


def probe(strength=0.5):
    target = "agwm.methods.linear_probe.LinearProbe"
    return build_method({"_target_": target, "name": "linear_probe", "strength": strength})


def head_on(features, labels, classes, encoder_decoder=False):
    """The head that the method fits on these features."""
    config = SimpleNamespace(is_encoder_decoder=encoder_decoder, model_type="bart")
    runner = SimpleNamespace(
        pretrained=lambda: SimpleNamespace(config=config, base_model=nn.Identity()),
        logits=lambda model: torch.from_numpy(features).float(),
        labels=labels,
        classes=classes,
    )
    return probe().run(runner).head


def data(classes, rows=40, width=5):
    """Features of unequal scales and offsets, and labels that depend on them, not separably."""
    generator = np.random.default_rng(0)
    features = generator.standard_normal((rows, width)).astype("float32").astype("float64")
    noise = generator.standard_normal(rows)
    scores = features[:, 0] + features[:, 1] + noise
    features = features * [0.1, 1, 5, 1, 20] + [3, 0, -2, 0, 7]
    features = features.astype("float32").astype("float64")
    if classes is None:
        return features, scores
    return features, np.digitize(scores, np.quantile(scores, np.arange(1, classes) / classes))


def probabilities(head, features):
    with torch.no_grad():
        return head.double()(torch.from_numpy(features)).softmax(-1).numpy()


def logistic():
    return make_pipeline(StandardScaler(), LogisticRegression(C=1 / 0.5, max_iter=10_000))


@pytest.mark.parametrize("classes", [2, 3])
def test_probabilities_are_those_of_scikit_learn(classes):
    features, labels = data(classes)
    expected = logistic().fit(features, labels).predict_proba(features)
    found = probabilities(head_on(features, labels.tolist(), classes), features)
    np.testing.assert_allclose(found, expected, atol=1e-5)


@pytest.mark.parametrize("seen", [(0, 2), (0, 1, 3)])
def test_a_class_without_an_example_is_never_predicted_and_changes_nothing_else(seen):
    features, codes = data(len(seen))
    labels = np.array(seen)[codes]
    expected = np.zeros((len(features), 4))
    expected[:, seen] = logistic().fit(features, labels).predict_proba(features)
    found = probabilities(head_on(features, labels.tolist(), 4), features)
    np.testing.assert_allclose(found, expected, atol=1e-5)


def test_a_single_class_is_always_predicted():
    features, _ = data(2)
    found = probabilities(head_on(features, [1] * len(features), 3), features)
    np.testing.assert_array_equal(found, np.tile([0.0, 1.0, 0.0], (len(features), 1)))


def test_regression_is_the_ridge_of_scikit_learn():
    features, values = data(None)
    expected = make_pipeline(StandardScaler(), Ridge(alpha=0.5)).fit(features, values)
    head = head_on(features, values.tolist(), None).double()
    with torch.no_grad():
        found = head(torch.from_numpy(features)).numpy()
    assert found.shape == (len(features), 1)
    np.testing.assert_allclose(found[:, 0], expected.predict(features), atol=1e-5)


def test_a_feature_that_never_changes_does_no_harm():
    features, labels = data(2)
    features[:, 3] = 4.0
    expected = logistic().fit(features, labels).predict_proba(features)
    found = probabilities(head_on(features, labels.tolist(), 2), features)
    np.testing.assert_allclose(found, expected, atol=1e-5)


def test_padding_has_no_part_in_the_mean():
    states = torch.tensor([[[1.0], [3.0], [100.0]], [[2.0], [4.0], [9.0]]])

    def encoder(attention_mask, input_ids):
        return SimpleNamespace(last_hidden_state=states)

    model = MeanPooled(nn.Identity(), nn.Linear(1, 1))
    model.encoder.forward = encoder
    model.head.weight.data.fill_(10.0), model.head.bias.data.fill_(1.0)
    mask = torch.tensor([[1, 1, 0], [1, 1, 1]])
    found = model(attention_mask=mask, input_ids=torch.zeros(2, 3)).logits
    assert found.tolist() == [[10 * 2.0 + 1], [10 * 5.0 + 1]]


def test_an_encoder_decoder_is_refused():
    with pytest.raises(UserError, match="bart is an encoder-decoder"):
        head_on(*data(2), 2, encoder_decoder=True)


def test_nothing_is_trained_by_gradients(tiny_run):
    record, _ = tiny_run("method=linear_probe")
    assert probe().plan() == []
    assert record.cost.forward_passes == 3
    assert record.cost.backward_passes == record.cost.optimizer_steps == 0
