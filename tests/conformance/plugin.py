"""Pytest plugin: timm's own ``tests/test_models.py`` over our models.

timm's suite picks its models through ``timm.list_models`` and has filters by backbone name (``vit_*`` has no spatial
features, ``densenet*`` is not scripted, ...). Here every test that lists a backbone lists it still, by its own name,
and creates ``fmpn_<backbone>``, our model in front of it. So nothing is left out that the bare backbone is put through.
Our other models go by their own names through every test that lists models; so do three of ``fmpn_lite_*``, which
differ from ``fmpn_*`` in the mask generator alone.

Exempt, beside what timm exempts the backbones from:

- ``fn2en`` is not run without pooling, as timm's VGG is not: a fully connected layer stands behind the map.
- ``msca*`` is not scripted: it reads the backbone's maps by ``forward_intermediates``, which TorchScript cannot take of
  timm's ResNets (a slice of layer names that is no constant). Of EfficientNet and ConvNeXt it could; MSCA's own code
  does not ask it to. ``torch.export``, ``torch.compile`` and ONNX take all of them.
- ``derl`` must fail the tests of ``EXPECTED``, for the reasons given there.
"""

import pytest
import timm

import fmpn_timm  # noqa: F401
from fmpn_timm.models import FMPN, FN2EN

PREFIX = "fmpn_"
_timm_list_models = timm.list_models
BACKBONES = {name[len(PREFIX):]: name for name in _timm_list_models(f"{PREFIX}*") if "_lite" not in name}
LITE = {name: f"fmpn_lite_{name}" for name in ("resnet18_small", "densenet121", "vit_small_patch16_224")}
SYSTEMS = tuple(name for pattern in ("derl*", "fn2en*", "msca*") for name in _timm_list_models(pattern))
EXEMPT = {"test_model_forward_torchscript": ("msca",)}

UNREAD = ("the classifier reads the layers that make the neutral face, not the face, and the local classifiers are for "
          "training alone")
NO_CHAIN = "the first pair of encoder and decoder layers needs the last decoder layer: the feature maps are no chain"

#: Tests that a model must fail, by test and by the first word of its name, and why.
EXPECTED = {
    ("test_model_backward", "derl"): UNREAD,
    ("test_model_backward_fx", "derl"): UNREAD,
    ("test_prune_intermediate_layers_contract", "derl"): NO_CHAIN,
}


class Listed(str):
    """A name that timm's suite got from ``list_models``; its tests of single models' internals name theirs by hand."""


def list_models(*args, pretrained: bool = False, **kwargs) -> list[Listed]:
    """timm's choice of models, narrowed to the backbones we stand in front of (and, if asked, have weights for)."""
    names = {name.split(".", 1)[0] for name in _timm_list_models(*args, **kwargs)}
    with_weights = {name.split(".", 1)[0] for name in _timm_list_models(f"{PREFIX}*", pretrained=True)}
    found = [n for n in names if n in BACKBONES and (not pretrained or BACKBONES[n] in with_weights)]
    if not pretrained:
        found += [LITE[n] for n in names if n in LITE]
        kwargs.pop("module", None)  # timm's modules with ``forward_intermediates``: ours all have it
        named = {name.split(".", 1)[0] for name in _timm_list_models(*args, **kwargs)}
        found += [n for n in SYSTEMS if n in named]
    return sorted(map(Listed, found))


class _ThroughFMPN(type):
    """``isinstance`` on the backbone: timm exempts the models with layers after pooling by class."""

    early_pool_models: tuple = ()

    def __instancecheck__(cls, model) -> bool:
        if isinstance(model, FMPN):
            return isinstance(model.backbone, cls.early_pool_models)
        return isinstance(model, (FN2EN, *cls.early_pool_models))


class EarlyPoolModels(metaclass=_ThroughFMPN):
    pass


def pytest_configure(config: pytest.Config) -> None:
    timm.list_models = list_models


@pytest.hookimpl(tryfirst=True)
def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    ours = [item for item in items if _is_ours(item)]
    config.hook.pytest_deselected(items=[i for i in items if i not in ours])
    items[:] = ours
    for item in items:
        exempt = (item.originalname, item.callspec.params["model_name"].split("_")[0])
        if exempt in EXPECTED:
            item.add_marker(pytest.mark.xfail(reason=EXPECTED[exempt], strict=True))
    for module in {item.module for item in items}:
        create_model, get_value = module.create_model, module.get_pretrained_cfg_value
        module.create_model = lambda name, *a, _f=create_model, **k: _f(BACKBONES.get(name, name), *a, **k)
        module.get_pretrained_cfg_value = lambda name, *a, _f=get_value, **k: _f(BACKBONES.get(name, name), *a, **k)
        _ThroughFMPN.early_pool_models = module.EARLY_POOL_MODELS
        module.EARLY_POOL_MODELS = EarlyPoolModels


def pytest_make_parametrize_id(config: pytest.Config, val: object, argname: str) -> str | None:
    return BACKBONES.get(val, str(val)) if isinstance(val, Listed) else None


def _is_ours(item: pytest.Item) -> bool:
    name = item.callspec.params.get("model_name") if hasattr(item, "callspec") else None
    return isinstance(name, Listed) and not name.startswith(EXEMPT.get(item.originalname, ("-",)))
