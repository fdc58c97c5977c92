"""Tests of the list of models."""

import json
from pathlib import Path

import pytest
import timm
from timm.models import PretrainedCfg, _registry

from fmpn_timm import cli, zoo

MODELS = Path(__file__).resolve().parent.parent / "docs" / "models.md"


@pytest.fixture(scope="module")
def rows():
    return zoo.list_zoo()


def test_docs_have_the_table(rows):
    table = MODELS.read_text().partition("<!-- models -->\n")[2].partition("\n<!-- /models -->")[0]
    assert table == zoo.models_table(rows), "fmpn models --markdown prints the new one"


def test_sizes_are_the_models(rows):
    by_name = {row["name"]: row for row in rows}
    ours = [name for family in ("fmpn*", "derl*", "fn2en*", "msca*", "resnet18_small*")
            for tags in (False, True) for name in timm.list_models(family, include_tags=tags)]
    assert sorted(by_name) == sorted(set(ours))
    paper = by_name["fmpn"]  # in front of Inception v3 where no backbone is named
    model = timm.create_model("fmpn_inception_v3", device="meta")
    assert paper["parameters"] == sum(p.numel() for p in model.parameters())
    assert {**by_name["fmpn_inception_v3"], "name": "fmpn"} == paper  # an architecture has no weights, its tags have
    for name in ("fmpn_inception_v3.ferplus", "fmpn_lite_resnet18_small.ferplus"):  # narrower than their architectures
        trained = timm.create_model(name, pretrained=True)
        assert by_name[name]["parameters"] == sum(p.numel() for p in trained.parameters())
    assert paper["gmacs"] == pytest.approx(37.96 + 5.7, abs=0.1)  # the paper's generator, and Inception v3


def test_where_weights_are(monkeypatch, tmp_path, capsys):
    name, repo = "fmpn_resnet18.ours", "someone/fmpn_resnet18.ours"
    cfg = PretrainedCfg(hf_hub_id=repo, architecture="fmpn_resnet18", tag="ours")
    monkeypatch.setitem(_registry._model_pretrained_cfgs, name, cfg)
    monkeypatch.setattr(timm, "list_models", lambda **kwargs: ["fmpn_resnet18_small", name])
    monkeypatch.setattr(zoo, "_size", lambda name: {"input_size": (3, 8, 8), "parameters": 10, "gmacs": 1.0})
    monkeypatch.setattr(zoo, "CHECKOUT", tmp_path / "hub")
    monkeypatch.setattr(zoo, "PACKAGED", tmp_path / "weights")
    monkeypatch.setattr(zoo, "try_to_load_from_cache", lambda repo, file: None)

    def where() -> dict[str, str]:
        cli.main(["models", "--json"])
        return {row["name"]: row["weights"] for row in json.loads(capsys.readouterr().out)["models"]}

    assert where() == {"fmpn_resnet18_small": "none", "fmpn_resnet18": "none", name: "Hub"}
    monkeypatch.setattr(zoo, "try_to_load_from_cache", lambda repo, file: f"/cache/{repo}/{file}")
    assert where()[name] == "cache"
    for place, said in (("weights", "package"), ("hub", "checkout")):
        folder = tmp_path / place / name
        folder.mkdir(parents=True)
        (folder / "config.json").touch()
        assert where()[name] != said  # a folder without its weights is none
        (folder / "model.safetensors").touch()
        assert where()[name] == said
    cli.main(["models"])
    assert "checkout" in capsys.readouterr().out.splitlines()[-1]
    cli.main(["models", "--markdown"])
    assert f"[{repo}](https://huggingface.co/{repo})" in capsys.readouterr().out
