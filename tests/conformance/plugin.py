"""Pytest plugin: timm's own ``tests/test_models.py`` over our models, ``fmpn_<backbone>`` instead of ``<backbone>``.

timm's suite picks its models through ``timm.list_models`` and has filters by backbone name (``vit_*`` has no spatial
features, ``densenet*`` is not scripted, ...). Here every test that lists a backbone lists it still, by its own name,
and creates our model in front of it. So nothing is left out that the bare backbone is put through. Models that stand in
front of no backbone are listed by their own names, with whatever timm lists its own architectures for, whole modules
too.
"""

import pytest
import timm

import fmpn_timm  # noqa: F401

PREFIX = "fmpn_"
_timm_list_models = timm.list_models
BACKBONES = {name[len(PREFIX):]: name for name in _timm_list_models(f"{PREFIX}*")}

#: Modules of the models that stand in front of no backbone.
MODULES = ("derl",)

UNREAD = ("the classifier reads the layers that make the neutral face, not the face, and the local classifiers are for "
          "training alone")
NO_CHAIN = "the first pair of encoder and decoder layers needs the last decoder layer: the feature maps are no chain"

#: Tests that such a model must fail, by test and by the first word of the model's name, and why.
EXEMPTIONS = {
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
    ours = {n for n in names if n in BACKBONES and (not pretrained or BACKBONES[n] in with_weights)}
    kwargs["module"] = MODULES
    ours |= {name.split(".", 1)[0] for name in _timm_list_models(*args[:1], pretrained=pretrained, **kwargs)}
    return sorted(Listed(n) for n in ours)


class _ThroughFMPN(type):
    """``isinstance`` on the backbone: timm exempts the models with layers after pooling by class."""

    early_pool_models: tuple = ()

    def __instancecheck__(cls, model) -> bool:
        return isinstance(getattr(model, "backbone", model), cls.early_pool_models)


class EarlyPoolModels(metaclass=_ThroughFMPN):
    pass


def pytest_configure(config: pytest.Config) -> None:
    timm.list_models = list_models


@pytest.hookimpl(tryfirst=True)
def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    ours = [i for i in items if hasattr(i, "callspec") and isinstance(i.callspec.params.get("model_name"), Listed)]
    config.hook.pytest_deselected(items=[i for i in items if i not in ours])
    items[:] = ours
    for item in items:
        exempt = (item.originalname, item.callspec.params["model_name"].split("_")[0])
        if exempt in EXEMPTIONS:
            item.add_marker(pytest.mark.xfail(reason=EXEMPTIONS[exempt], strict=True))
    for module in {item.module for item in items}:
        create_model, get_value = module.create_model, module.get_pretrained_cfg_value
        module.create_model = lambda name, *a, _f=create_model, **k: _f(BACKBONES.get(name, name), *a, **k)
        module.get_pretrained_cfg_value = lambda name, *a, _f=get_value, **k: _f(BACKBONES.get(name, name), *a, **k)
        _ThroughFMPN.early_pool_models = module.EARLY_POOL_MODELS
        module.EARLY_POOL_MODELS = EarlyPoolModels


def pytest_make_parametrize_id(config: pytest.Config, val: object, argname: str) -> str | None:
    return BACKBONES.get(val, str(val)) if isinstance(val, Listed) else None
