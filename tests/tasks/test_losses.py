"""Tests of the losses of classifiers."""

import math

import pytest
import torch
import torch.nn.functional as F

from fmpn_timm.models import CosineLinear
from fmpn_timm.tasks import LOSSES, CenterCosineLoss, CenterLoss, CosFace, CrossEntropy, create_loss, needs_cosines
from fmpn_timm.tasks.losses import separation

B, K, D = 5, 4, 6


@pytest.fixture(autouse=True)
def seed():
    torch.manual_seed(0)


@pytest.fixture
def case() -> dict[str, torch.Tensor]:
    return {"logits": torch.randn(B, K), "embeddings": torch.randn(B, D, requires_grad=True),
            "weights": torch.randn(K, D, requires_grad=True), "target": torch.rand(B, K).softmax(1)}


def one_hot(labels: list[int], number: int = K) -> torch.Tensor:
    return F.one_hot(torch.tensor(labels), number).float()


def simplex(number: int) -> torch.Tensor:
    """Centres as far from each other as they can be: cosines of -1 / (K - 1)."""
    return torch.eye(number) - 1 / number


def cosface_by_hand(cos: torch.Tensor, label: int, s: float, m: float) -> float:
    own = math.exp(s * (cos[label] - m))
    others = sum(math.exp(s * cos[j]) for j in range(len(cos)) if j != label)
    return -math.log(own / (own + others))


@pytest.mark.parametrize("label_smoothing", [0.0, 0.3])
def test_cross_entropy(case, label_smoothing):
    target = (1 - label_smoothing) * case["target"] + label_smoothing / K
    expected = -(target * case["logits"].log_softmax(1)).sum(1).mean()
    torch.testing.assert_close(CrossEntropy(label_smoothing)(**case), expected)


@pytest.mark.parametrize("margin", [0.0, 0.2])
def test_cosface(case, margin):
    labels = [0, 3, 1, 1, 2]
    case["target"] = one_hot(labels)
    cos = F.cosine_similarity(case["embeddings"][:, None], case["weights"][None], dim=2).tolist()
    expected = sum(cosface_by_hand(c, y, 8.0, margin) for c, y in zip(cos, labels, strict=True)) / B
    assert CosFace(8.0, margin)(**case).item() == pytest.approx(expected, rel=1e-4)


def test_cosface_without_margin_is_the_cross_entropy_of_the_classifiers_logits(case):
    classifier = CosineLinear(D, K, scale=9.0)
    classifier.weight.data = case["weights"].detach()
    logits = classifier(case["embeddings"])
    expected = CrossEntropy(0.1)(logits, None, None, case["target"])
    torch.testing.assert_close(CosFace(9.0, 0.0, 0.1)(**case), expected)


@pytest.mark.parametrize("loss", [CosFace(), CenterCosineLoss(push=0.0), CosFace(label_smoothing=0.2)])
def test_soft_targets_give_the_expected_loss(case, loss):
    if_class = [loss(**dict(case, target=one_hot([k] * B))) for k in range(K)]
    target = case["target"][:1].expand(B, K)
    expected = sum(t * value for t, value in zip(target[0], if_class, strict=True))
    torch.testing.assert_close(loss(**dict(case, target=target)), expected)


@pytest.mark.parametrize("number", [2, 7, 8])
def test_scale_bound_of_cosface(number):
    """At the simplex, the right class gets probability P where s has its least value for P."""
    probability = 0.99
    scale = (number - 1) / number * math.log((number - 1) * probability / (1 - probability))
    centres = simplex(number)
    logits = CosFace(scale, 0.0)(None, centres, centres, torch.eye(number))
    assert math.exp(-logits.item()) == pytest.approx(probability, abs=1e-5)
    if number == 7:
        assert scale == pytest.approx(5.47, abs=0.01)


def test_margin_costs(case):
    assert CosFace(margin=0.2)(**case) > CosFace(margin=0.0)(**case)


def test_center_cosine_is_the_sum_of_its_parts(case):
    labels = [0, 3, 1, 1, 2]
    case["target"] = one_hot(labels)
    f, c = F.normalize(case["embeddings"], dim=1), F.normalize(case["weights"], dim=1)
    pull = sum(1 - f[i] @ c[y] for i, y in enumerate(labels)) / B
    push = sum(max(0.0, (c[j] @ c[k]).item() + 1 / (K - 1)) for j in range(K) for k in range(K) if j != k)
    expected = CosFace(16.0, 0.2)(**case) + 0.5 * pull + 1.0 * push / (K * (K - 1))
    torch.testing.assert_close(CenterCosineLoss()(**case), expected)


@pytest.mark.parametrize("number", [2, 3, 7])
def test_separation_is_zero_at_the_simplex_and_nowhere_nearer(number):
    assert separation(3 * simplex(number)).item() == pytest.approx(0, abs=1e-6)
    assert separation(torch.ones(number, D)).item() == pytest.approx(1 + 1 / (number - 1))
    if number > 2:  # two vectors are in the simplex at any angle but 180 degrees: nothing to tilt
        tilted = simplex(number)
        tilted[0] = 0.7 * tilted[0] + 0.3 * tilted[1]
        assert separation(tilted).item() > 0.01


def test_center_loss_and_its_centres():
    assert (CenterLoss(3, 2).weight, CenterLoss(3, 2).rate) == (0.003, 0.5)  # the paper's
    loss = CenterLoss(num_classes=3, embed_dim=2, weight=0.1, rate=0.5)
    embeddings = torch.tensor([[2.0, 0.0], [4.0, 0.0], [0.0, 6.0]], requires_grad=True)
    target, logits = one_hot([0, 0, 1], 3), torch.zeros(3, 3)
    value = loss(logits, embeddings, None, target)
    assert value.item() == pytest.approx(math.log(3) + 0.1 / 2 * (4 + 16 + 36) / 3)
    value.backward()
    torch.testing.assert_close(embeddings.grad, 0.1 * embeddings.detach() / 3)
    # algorithm 1: c -= 0.5 * sum(c - f) / (1 + n)
    torch.testing.assert_close(loss.centres, torch.tensor([[0.5 * 6 / 3, 0.0], [0.0, 0.5 * 6 / 2], [0.0, 0.0]]))
    before = loss.centres.clone()
    loss.eval()(logits, embeddings, None, target)
    assert torch.equal(loss.centres, before)


def test_centres_come_to_the_class_means():
    loss = CenterLoss(2, 2)
    embeddings = torch.tensor([[1.0, 2.0], [3.0, 4.0], [-5.0, 0.0]])
    for _ in range(100):
        loss(torch.zeros(3, 2), embeddings, None, one_hot([0, 0, 1], 2))
    torch.testing.assert_close(loss.centres, torch.tensor([[2.0, 3.0], [-5.0, 0.0]]), rtol=1e-3, atol=1e-3)


@pytest.mark.parametrize("name", LOSSES)
def test_gradients_reach_embeddings_and_classifier(case, name):
    classifier = CosineLinear(D, K)
    logits = classifier(case["embeddings"])
    create_loss(name, classifier)(logits, case["embeddings"], classifier.weight, case["target"]).backward()
    for tensor in (case["embeddings"], classifier.weight):
        assert tensor.grad.isfinite().all() and (tensor.grad != 0).all()


@pytest.mark.parametrize("name", LOSSES)
def test_losses_are_float32_under_autocast_and_finite_for_an_empty_embedding(name):
    classifier = CosineLinear(D, K)
    embeddings = torch.zeros(2, D).bfloat16()
    with torch.autocast("cpu", torch.bfloat16):
        loss = create_loss(name, classifier)
        value = loss(classifier(embeddings), embeddings, classifier.weight, one_hot([0, 1]))
    assert value.dtype == torch.float32 and value.isfinite()


def test_losses_of_angles_take_the_classifiers_scale():
    classifier = CosineLinear(D, K, scale=30.0)
    assert create_loss("cosface", classifier).scale == create_loss("center_cosine", classifier).scale == 30
    assert [name for name in LOSSES if needs_cosines(name)] == ["cosface", "center_cosine"]


@pytest.mark.parametrize("name", LOSSES)
def test_every_loss_takes_the_label_smoothing(case, name):
    classifier = CosineLinear(D, K)
    assert create_loss(name, classifier, 0.3).label_smoothing == 0.3
    case["target"] = one_hot([0, 3, 1, 1, 2])
    plain, smoothed = (create_loss(name, classifier, share).eval()(**case) for share in (0.0, 0.3))
    assert not torch.allclose(plain, smoothed)


def test_length_of_embeddings_is_nothing_to_losses_of_angles(case):
    for name in ("cosface", "center_cosine"):
        loss = create_loss(name, CosineLinear(D, K))
        torch.testing.assert_close(loss(**case), loss(**dict(case, embeddings=7 * case["embeddings"])))
