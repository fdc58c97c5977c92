"""Tests of DeRL's objectives."""

import pytest
import timm
import torch

from fmpn_timm.tasks import DeexpressionTask, ResidueTask, neutral_error


@pytest.fixture
def model():
    torch.manual_seed(0)
    return timm.create_model("derl", width=4, local_width=4, img_size=32, num_classes=3)


@pytest.fixture
def batch():
    generator = torch.Generator().manual_seed(1)
    faces, neutral = torch.rand(2, 4, 3, 32, 32, generator=generator)
    return {"image": faces, "neutral": neutral, "target": torch.rand(4, 3, generator=generator).softmax(1)}


def grey(x: torch.Tensor) -> torch.Tensor:
    return (x * torch.tensor([0.299, 0.587, 0.114]).view(1, 3, 1, 1)).sum(1, keepdim=True)


def with_gradient(module: torch.nn.Module) -> set[str]:
    return {name.split(".")[0] for name, p in module.named_parameters() if p.grad is not None and p.grad.any()}


@pytest.mark.parametrize(("options", "theta"), [({}, 100.0), ({"l1_weight": 7.0}, 7.0)])
def test_deexpression_losses_are_the_papers(model, batch, options, theta):
    task = DeexpressionTask(model, width=2, **options).eval()  # evaluation mode: batch norm counts no batches
    assert task.discriminator.layers[0][0].out_channels == 2
    result = task(batch["image"], batch)
    face, neutral, generated = (2 * x - 1 for x in (grey(batch["image"]), grey(batch["neutral"]), result["output"]))
    real, fake = (task.discriminator(face, x).sigmoid() for x in (neutral, generated))
    torch.testing.assert_close(result["discriminator_loss"], -real.log().mean() - (1 - fake).log().mean())
    torch.testing.assert_close(result["adversarial_loss"], -fake.log().mean())
    torch.testing.assert_close(result["l1_loss"], (neutral - generated).abs().mean())
    parts = result["discriminator_loss"] + result["adversarial_loss"] + theta * result["l1_loss"]
    torch.testing.assert_close(result["loss"], parts)
    torch.testing.assert_close(result["output"], model.neutral(batch["image"]))


@pytest.mark.parametrize(
    ("loss", "model_learns", "discriminator_learns"),
    [("discriminator_loss", False, True), ("adversarial_loss", True, False), ("l1_loss", True, False)],
)
def test_each_loss_reaches_the_network_it_is_for(model, batch, loss, model_learns, discriminator_learns):
    task = DeexpressionTask(model, width=2)
    task(batch["image"], batch)[loss].backward()
    assert with_gradient(model) == ({"generator"} if model_learns else set())
    assert bool(with_gradient(task.discriminator)) == discriminator_learns


def test_one_step_of_one_optimiser_moves_both_networks_their_own_way(model, batch):
    """The discriminator gets the gradient of its loss alone, as if each had its own backward pass."""
    task = DeexpressionTask(model, width=2)
    task(batch["image"], batch)["loss"].backward()
    together = [p.grad.clone() for p in task.discriminator.parameters()]
    task.zero_grad()
    task(batch["image"], batch)["discriminator_loss"].backward()
    for ours, alone in zip(together, task.discriminator.parameters(), strict=True):
        torch.testing.assert_close(ours, alone.grad)


def test_neutral_error_is_per_face(model, batch):
    model.eval()
    errors = neutral_error(model, batch)
    expected = (model.neutral(batch["image"]) - grey(batch["neutral"])).abs().mean((1, 2, 3))
    assert errors.shape == (4,)
    torch.testing.assert_close(errors, expected)


@pytest.mark.parametrize(("given", "weights"), [((), (0.5, 1.0)), ((2.0, 0.25), (2.0, 0.25))])
def test_residue_loss_is_the_weighted_sum_of_five(model, batch, given, weights):
    task = ResidueTask(model, *given).eval()
    result = task(batch["image"], batch)
    output = model.forward_residue(batch["image"])
    losses = [-(batch["target"] * logits.log_softmax(1)).sum(1).mean()
              for logits in (*output.local_logits.unbind(1), output.logits)]
    torch.testing.assert_close(result["loss"], weights[0] * sum(losses[:4]) + weights[1] * losses[4])
    torch.testing.assert_close(result["class_loss"], losses[4])
    torch.testing.assert_close(result["local_loss"], sum(losses[:4]))
    torch.testing.assert_close(result["output"], output.logits)


def test_residue_task_leaves_the_generator_and_its_statistics(model, batch):
    task = ResidueTask(model).train()
    assert not any(m.training for m in model.generator.modules())
    assert all(m.training for part in (model.local, model.head) for m in part.modules())
    model.generator.requires_grad_(False)
    before = {k: v.clone() for k, v in model.generator.state_dict().items()}
    optimizer = torch.optim.SGD([p for p in model.parameters() if p.requires_grad], 0.1)
    for _ in range(3):
        optimizer.zero_grad()
        task(batch["image"], batch)["loss"].backward()
        optimizer.step()
    assert all(torch.equal(v, before[k]) for k, v in model.generator.state_dict().items())
    assert with_gradient(model) == {"local", "head"}
    unmoved = [n for n, p in model.named_parameters() if p.requires_grad and p.grad is None]
    assert unmoved == []


@pytest.mark.parametrize("task", [DeexpressionTask, ResidueTask])
def test_losses_are_float32_under_autocast(model, batch, task):
    task = task(model)
    with torch.autocast("cpu", torch.bfloat16):
        result = task(batch["image"], batch)
    assert {v.dtype for k, v in result.items() if k.endswith("loss")} == {torch.float32}
