"""Tests of DeRL and of its life inside timm."""

import copy
import json

import pytest
import timm
import torch
import torch.nn.functional as F
from timm.models import group_parameters
from timm.optim import param_groups_layer_decay
from torch import nn

from fmpn_timm.hub import save_model
from fmpn_timm.models import DeRL
from fmpn_timm.models.derl import DeexpressionGenerator, Discriminator

NAMES = ("derl", "derl_unet")
CLASSES = ("neutral", "happiness", "surprise", "sadness", "anger", "disgust", "fear")
SMALL = dict(width=4, local_width=4, img_size=32)


def small(name: str = "derl", **kwargs) -> DeRL:
    """A small network whose neutral faces and logits depend on the face."""
    torch.manual_seed(0)
    model = timm.create_model(name, **dict(SMALL, **kwargs))
    for module in (model.head, *model.local):
        for linear in module.modules():
            if isinstance(linear, nn.Linear):
                nn.init.normal_(linear.weight)
    model(faces(model.img_size, model.in_chans, batch=8))  # batch norm statistics
    return model.eval()


def faces(size: int = 32, chans: int = 3, batch: int = 2) -> torch.Tensor:
    return torch.rand(batch, chans, size, size, generator=torch.Generator().manual_seed(2))


def same(a: torch.Tensor, b: torch.Tensor) -> None:
    torch.testing.assert_close(a, b, rtol=0, atol=0)


@pytest.fixture(params=NAMES)
def model(request) -> DeRL:
    return small(request.param)


# Registry and sizes


def test_timm_lists_exactly_our_names():
    assert set(timm.list_models("derl*", module="derl")) == set(NAMES)


@pytest.mark.parametrize(("name", "parameters"), [("derl", 19_127_524), ("derl_unet", 21_881_060)])
def test_registered_model_has_the_sizes_it_promises(name, parameters):
    model = timm.create_model(name, device="meta").eval()
    assert {t.device.type for t in (*model.parameters(), *model.buffers())} == {"meta"}
    assert sum(p.numel() for p in model.parameters()) == parameters
    x = torch.empty(2, 3, 64, 64, device="meta")
    encoded, decoded = model.generator.features(x[:, :1])
    assert [tuple(e.shape[1:]) for e in encoded] == [
        (64, 32, 32), (128, 16, 16), (256, 8, 8), (512, 4, 4), (512, 2, 2)]
    assert [tuple(d.shape[1:]) for d in decoded] == [(512, 4, 4), (256, 8, 8), (128, 16, 16), (64, 32, 32)]
    out = model.forward_residue(x)
    assert out.logits.shape == (2, 7) and out.local_logits.shape == (2, 4, 7) and out.neutral.shape == (2, 1, 64, 64)
    assert model.num_features == model.head_hidden_size == 4 * 256 + 2048


def test_config_leaves_faces_as_they_are_and_names_all_classifiers():
    model = timm.create_model("derl", device="meta")
    data = timm.data.resolve_model_data_config(model)
    assert data["mean"] == (0.0,) * 3 and data["std"] == (1.0,) * 3 and data["input_size"] == (3, 64, 64)
    weights = model.state_dict()
    of_classes = {f"{name}.weight" for name in model.pretrained_cfg["classifier"]}
    assert of_classes == {k for k, v in weights.items() if v.ndim == 2 and v.shape[0] == 7} and len(of_classes) == 5


# The network


@torch.inference_mode()
def test_generator_is_its_layers(model):
    generator, grey = model.generator, faces(chans=1)
    x, encoded = 2 * grey - 1, []
    for n, (conv, *norm, _) in enumerate(generator.encoder):
        assert len(norm) == (n > 0)
        x = F.conv2d(x, conv.weight, conv.bias, stride=2, padding=1)
        x = F.leaky_relu(norm[0](x) if norm else x, 0.2)
        encoded.append(x)
    for n, layer in enumerate((*generator.decoder, [generator.to_face])):
        if generator.unet and n:
            x = torch.cat([x, encoded[4 - n]], 1)
        x = F.conv_transpose2d(x, layer[0].weight, layer[0].bias, stride=2, padding=1)
        x = layer[1](x).relu() if n < 4 else x.tanh()
    torch.testing.assert_close(generator(grey), x)


@torch.inference_mode()
def test_discriminator_is_its_layers():
    torch.manual_seed(0)
    network, face, neutral = Discriminator(2).eval(), *faces(64, 1, batch=4).split(2)
    x = torch.cat([face, neutral], 1)
    for n, ((conv, *norm, _), stride) in enumerate(zip(network.layers[:4], (2, 2, 2, 1), strict=True)):
        assert len(norm) == (n > 0)
        x = F.conv2d(x, conv.weight, conv.bias, stride, padding=1)
        x = F.leaky_relu(norm[0](x) if norm else x, 0.2)
    last = network.layers[4]
    torch.testing.assert_close(network(face, neutral), F.conv2d(x, last.weight, last.bias, padding=1))


@torch.inference_mode()
def test_local_network_halves_by_its_largest_values(model):
    """Convolution, batch norm, ReLU at each size down to 4 x 4, with max pooling between."""
    net, x = model.local[0], model._pairs(faces())[0][0]
    blocks = [layer for layer in net.convs if not isinstance(layer, nn.MaxPool2d)]
    for n, block in enumerate(blocks):
        x = F.max_pool2d(x, 2) if n else x
        x = block.norm(F.conv2d(x, block.conv.weight, padding=1)).relu()
    assert x.shape[2:] == (4, 4)
    torch.testing.assert_close(net.convs(model._pairs(faces())[0][0]), x)


@torch.inference_mode()
def test_pairs_and_bottleneck_are_what_the_classifiers_see(model):
    x = faces()
    red, green, blue = x.unbind(1)
    grey = (0.299 * red + 0.587 * green + 0.114 * blue).unsqueeze(1)
    e1, e2, e3, e4, e5 = model.generator.features(grey)[0]
    d1, d2, d3, d4 = model.generator.features(grey)[1]
    vectors = []
    for net, pair in zip(model.local, [(e1, d4), (e2, d3), (e3, d2), (e4, d1)], strict=True):
        vectors.append(net.norm(net.fc(net.convs(torch.cat(pair, 1)).flatten(1))).relu())
    logits = model.head.fc(torch.cat([*vectors, e5.flatten(1)], 1))
    local = torch.stack([net.head.fc(v) for net, v in zip(model.local, vectors, strict=True)], 1)
    out = model.forward_residue(x)
    assert (logits[0] - logits[1]).abs().max() > 1e-2 and (local[0] - local[1]).abs().max() > 1e-2
    torch.testing.assert_close(out.logits, logits)
    torch.testing.assert_close(out.local_logits, local)
    torch.testing.assert_close(out.neutral, (model.generator(grey) + 1) / 2)


@torch.inference_mode()
def test_all_forwards_agree(model):
    x = faces()
    out = model.forward_residue(x)
    same(model(x), out.logits)
    same(model.forward_head(model.forward_features(x)), out.logits)
    same(model.neutral(x), out.neutral)
    assert out.neutral.shape == (2, 1, 32, 32) and out.neutral.min() >= 0 and out.neutral.max() <= 1
    assert out.neutral.std() > 1e-3


@torch.inference_mode()
def test_residue_is_the_difference_to_the_neutral_face(model):
    grey = faces(chans=1)
    rgb = grey.expand(-1, 3, -1, -1)
    torch.testing.assert_close(model.residue(rgb), (grey - model.neutral(rgb)).abs())


@torch.no_grad()
def test_a_generator_of_few_updates_is_the_same_in_evaluation():
    """Batch norm's running statistics start at variance 1: far fainter maps would be lost once they are used."""
    torch.manual_seed(0)
    generator, grey = DeexpressionGenerator(8).train(), faces(64, 1, batch=16)
    for _ in range(20):
        encoded, decoded = generator.features(grey)
    frozen = generator.eval().features(grey)
    for trained, evaluated in zip([*encoded, *decoded], [*frozen[0], *frozen[1]], strict=True):
        assert trained.std() > 0.2
        assert (evaluated - trained).abs().mean() < 0.5 * trained.std()


@torch.no_grad()
def test_no_unit_of_a_local_network_dies_of_its_weights(model):
    """Without batch norm, weights that are all negative leave nothing above zero behind the ReLU."""
    pairs = model.train()._pairs(faces(batch=16))[0]
    for net, pair in zip(model.local, pairs, strict=True):
        net.fc.weight.copy_(-net.fc.weight.abs())
        assert (net(pair) > 0).any(0).all()


def test_unet_decoder_sees_the_encoder():
    """Without the bottleneck's part in it, only the U-Net's neutral face still depends on the face."""
    moved = {}
    for unet in (False, True):
        torch.manual_seed(0)
        generator = DeexpressionGenerator(4, unet).eval()
        encoded, _ = generator.features(faces(chans=1))
        blind = [*encoded[:4], torch.zeros_like(encoded[4])]
        x, decoded = blind[-1], []
        for n, layer in enumerate(generator.decoder):
            x = layer(torch.cat([x, blind[4 - n]], 1) if unet and n else x)
            decoded.append(x)
        neutral = generator.face(blind, decoded)
        moved[unet] = (neutral[0] - neutral[1]).abs().max().item()
    assert moved[False] == 0 and moved[True] > 0


@torch.inference_mode()
def test_faces_of_a_batch_do_not_mix(model):
    x = faces(batch=3)
    torch.testing.assert_close(model(x)[1:2], model(x[1:2]), rtol=1e-4, atol=1e-5)


def test_logits_reach_all_but_the_last_decoder_layer_and_the_local_classifiers(model):
    model.train()(faces(batch=4)).square().sum().backward()
    without = {n for n, p in model.named_parameters() if p.grad is None or not p.grad.any()}
    unread = {f"local.{n}.head.fc.{kind}" for n in range(4) for kind in ("weight", "bias")}
    assert without == unread | {"generator.to_face.weight", "generator.to_face.bias"}


def test_all_outputs_together_reach_every_parameter(model):
    out = model.train().forward_residue(faces(batch=4))
    sum(part.square().sum() for part in out).backward()
    assert [n for n, p in model.named_parameters() if p.grad is None or not p.grad.any()] == []


@pytest.mark.parametrize("size", [32, 64, 96, 128])
def test_discriminator_judges_patches(size):
    logits = Discriminator(2)(faces(size, 1), faces(size, 1))
    assert logits.shape == (2, 1, size // 8 - 2, size // 8 - 2)


# Arguments


@pytest.mark.parametrize("img_size", [32, 64, 96, 128])
@torch.inference_mode()
def test_image_size(img_size):
    model = small(img_size=img_size)
    out = model.forward_residue(faces(img_size))
    assert out.logits.shape == (2, 7) and out.neutral.shape == (2, 1, img_size, img_size)
    with pytest.raises(AssertionError, match="img_size"):
        model(faces(160))


@pytest.mark.parametrize(
    ("kwargs", "message"),
    [
        (dict(in_chans=2), "RGB.*grey.*in_chans=2"),
        (dict(img_size=48), "multiple of 32.*img_size=48"),
        (dict(img_size=(64, 96)), "square"),
        (dict(width=0), "width must be at least 1"),
        (dict(local_width=0), "local_width must be at least 1"),
    ],
)
def test_senseless_arguments_are_refused(kwargs, message):
    with pytest.raises(ValueError, match=message):
        timm.create_model("derl", **dict(SMALL, **kwargs))


@pytest.mark.parametrize("name", NAMES)
def test_unknown_arguments_are_refused(name):
    with pytest.raises(TypeError, match="no_such_argument"):
        timm.create_model(name, no_such_argument=1, device="meta")


@pytest.mark.parametrize("method", ["forward", "neutral", "residue", "forward_residue", "forward_features"])
def test_wrong_channels_are_refused(method):
    with pytest.raises(AssertionError, match="in_chans"):
        getattr(small(), method)(faces(chans=1))


def test_drop_rate_reaches_all_classifiers():
    model = small(drop_rate=0.25)
    assert [m.p for m in model.modules() if isinstance(m, nn.Dropout)] == [0.25] * 5


@torch.inference_mode()
def test_bfloat16_model_gives_bfloat16(model):
    out = copy.deepcopy(model).to(torch.bfloat16).forward_residue(faces().bfloat16())
    assert {t.dtype for t in out} == {torch.bfloat16}
    assert (out.neutral.float() - model.neutral(faces())).abs().mean() < 0.05


# Saving and loading


def saved(model: nn.Module, folder) -> str:
    save_model(model, folder, CLASSES[:model.num_classes], model.img_size, 0.9)
    return f"local-dir:{folder}"


@pytest.mark.parametrize("memory_format", [torch.contiguous_format, torch.channels_last], ids=["contiguous", "last"])
@torch.inference_mode()
def test_round_trip_is_bit_exact(model, memory_format, tmp_path):
    name = saved(model.to(memory_format=memory_format), tmp_path / "m")
    loaded = timm.create_model(name, pretrained=True).eval()
    for ours, theirs in zip(
        loaded.forward_residue(faces()), model.to(memory_format=torch.contiguous_format).forward_residue(faces()),
        strict=True,
    ):
        same(ours, theirs)
    cfg = loaded.pretrained_cfg
    assert cfg["label_names"] == list(CLASSES) and cfg["input_size"] == (3, 32, 32) and cfg["crop_pct"] == 0.9
    json.loads((tmp_path / "m" / "config.json").read_text())


@pytest.mark.parametrize("num_classes", [5, 0])
@torch.inference_mode()
def test_other_number_of_classes_drops_only_the_classifiers(model, num_classes, tmp_path):
    loaded = timm.create_model(saved(model, tmp_path / "m"), pretrained=True, num_classes=num_classes).eval()
    assert loaded(faces()).shape == (2, num_classes or model.num_features)
    same(loaded.forward_features(faces()), model.forward_features(faces()))
    assert loaded.forward_residue(faces()).local_logits.shape == (2, 4, num_classes or 8)


@torch.inference_mode()
def test_grey_model_from_an_rgb_one_equals_it_on_grey_faces(model, tmp_path):
    grey_model = timm.create_model(saved(model, tmp_path / "m"), pretrained=True, in_chans=1).eval()
    grey = faces(chans=1)
    torch.testing.assert_close(grey_model(grey), model(grey.expand(-1, 3, -1, -1)), rtol=1e-4, atol=1e-4)


@torch.inference_mode()
def test_grey_model_survives_a_round_trip(tmp_path):
    model = small(in_chans=1)
    loaded = timm.create_model(saved(model, tmp_path / "m"), pretrained=True).eval()
    same(loaded(faces(chans=1)), model(faces(chans=1)))


# timm's contract


@torch.inference_mode()
def test_reset_classifier_resets_all_five(model):
    features = model.forward_features(faces())
    model.reset_classifier(5)
    out = model.forward_residue(faces())
    assert model.num_classes == model.get_classifier().out_features == 5
    assert out.logits.shape == (2, 5) and out.local_logits.shape == (2, 4, 5)
    model.reset_classifier(0)
    same(model(faces()), features.flatten(1))
    model.reset_classifier(0, "")
    same(model(faces()), features)


@torch.inference_mode()
def test_intermediates_are_the_pairs_and_the_bottleneck(model):
    final, maps = model.forward_intermediates(faces())
    same(final, model.forward_features(faces()))
    assert [tuple(m.shape) for m in maps] == [
        (2, info["num_chs"], 32 // info["reduction"], 32 // info["reduction"]) for info in model.feature_info]
    last = model.forward_intermediates(faces(), indices=2, intermediates_only=True)
    same(last[0], maps[3])
    same(last[1], maps[4])
    with pytest.raises(AssertionError, match="out of range"):
        model.forward_intermediates(faces(), indices=[5])


@torch.inference_mode()
def test_features_of_a_saved_model_at_chosen_indices(model, tmp_path):
    features = timm.create_model(saved(model, tmp_path / "m"), pretrained=True, features_only=True, out_indices=(1, -1))
    expected = model.forward_intermediates(faces(), indices=[1, 4], intermediates_only=True)
    assert features.feature_info.channels() == [16, 32] and features.feature_info.reduction() == [4, 32]
    for ours, theirs in zip(features.eval()(faces()), expected, strict=True):
        same(ours, theirs)
    assert not [n for n, _ in features.named_parameters() if ".local." in n or ".head." in n]


def test_groups_go_from_the_encoder_to_the_head(model):
    groups = group_parameters(model, model.group_matcher(), reverse=True)
    parts = ("generator.encoder.0", "generator.encoder.4", "generator.decoder.0", "generator.decoder.3",
             "generator.to_face", "local", "head")
    assert [{g for n, g in groups.items() if n.startswith(f"{part}.")} for part in parts] == [
        {0}, {4}, {5}, {8}, {9}, {10}, {11}]
    coarse = group_parameters(model, model.group_matcher(coarse=True), reverse=True)
    assert {n.split(".")[0]: g for n, g in coarse.items()} == {"generator": 0, "local": 1, "head": 2}
    scaled = param_groups_layer_decay(model, layer_decay=0.5)
    assert sum(len(g["params"]) for g in scaled) == len(list(model.parameters()))


# Deployment


@torch.inference_mode()
def test_graph_capture_has_no_breaks(model):
    torch.compiler.reset()
    compiled = torch.compile(model, backend="eager", fullgraph=True)
    torch.testing.assert_close(compiled(faces()), model(faces()), rtol=1e-5, atol=1e-5)


@torch.inference_mode()
def test_exported_program_survives_a_file_at_any_batch_size(model, tmp_path):
    program = torch.export.export(model, (faces(),), dynamic_shapes=({0: torch.export.Dim("batch")},))
    torch.export.save(program, tmp_path / "model.pt2")
    loaded = torch.export.load(tmp_path / "model.pt2").module()
    for batch in (1, 2, 5):
        torch.testing.assert_close(loaded(faces(batch=batch)), model(faces(batch=batch)), rtol=1e-5, atol=1e-5)


class WithNeutral(nn.Module):
    """What a user exports who wants the neutral face as well."""

    def __init__(self, model: nn.Module):
        super().__init__()
        self.model = model

    def forward(self, x: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        out = self.model.forward_residue(x)
        return out.logits, out.neutral


@pytest.mark.slow
@torch.inference_mode()
def test_onnx_of_logits_and_neutral_face_equals_eager(model, tmp_path):
    onnxruntime = pytest.importorskip("onnxruntime")
    pytest.importorskip("onnxscript")
    wrapped, path = WithNeutral(model).eval(), tmp_path / "model.onnx"
    torch.onnx.export(
        wrapped, (faces(),), str(path), dynamo=True, verbose=False, input_names=["face"],
        output_names=["logits", "neutral"], dynamic_shapes=({0: torch.export.Dim("batch")},),
    )
    session = onnxruntime.InferenceSession(str(path), providers=["CPUExecutionProvider"])
    for batch in (1, 2, 5):
        x = faces(batch=batch)
        for ours, theirs in zip(session.run(None, {"face": x.numpy()}), wrapped(x), strict=True):
            torch.testing.assert_close(torch.from_numpy(ours), theirs, rtol=1e-4, atol=1e-4)


@pytest.mark.filterwarnings("ignore::FutureWarning", "ignore::DeprecationWarning")
@torch.inference_mode()
def test_torchscript_survives_a_file(model, tmp_path):
    torch.jit.script(model).save(str(tmp_path / "model.pt"))
    scripted = torch.jit.load(str(tmp_path / "model.pt"))
    torch.testing.assert_close(scripted(faces()), model(faces()), rtol=1e-5, atol=1e-5)
