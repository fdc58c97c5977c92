"""The model card: what a published model is, how it was trained, what it scores, and what it must not be used for."""

import dataclasses
import json
import math
import shlex
from collections.abc import Collection
from typing import Any

import timm
from huggingface_hub import EvalResult, ModelCard, ModelCardData

from fmpn_timm.data.readers.fer2013 import FER2013_RECIPE
from fmpn_timm.data.transforms import load_size_of
from fmpn_timm.files import portable
from fmpn_timm.markdown import markdown_table
from fmpn_timm.terms import DATA, FREE, datasets, descent, terms, title_of
from fmpn_timm.training.config import INDIFFERENT, TrainConfig, config_names, parse_config

__all__ = ["benchmark_results", "model_card", "training_command"]


@dataclasses.dataclass(frozen=True)
class System:
    """What a card says of the paper behind an architecture: how it is called, what it does, how to cite it."""

    text: str
    citation: str


OURS = """A {kind} for [timm](https://github.com/huggingface/pytorch-image-models); neither code nor weights are the
authors'."""

#: By the first word of the architecture's name.
SYSTEMS = {
    "fmpn": System(
        """\
It is **FMPN**, [Facial Motion Prior Networks](https://arxiv.org/abs/1902.08788) (Chen, Wang, Chen, Shi, Cai, 2019): a
small network says where the face moved, a second one lays that mask over the face, the backbone `{backbone}` decides.
""" + OURS.format(kind="reimplementation"),
        """@inproceedings{chen2019fmpn,
  title     = {Facial Motion Prior Networks for Facial Expression Recognition},
  author    = {Chen, Yuedong and Wang, Jianfeng and Chen, Shikai and Shi, Zhongchao and Cai, Jianfei},
  booktitle = {IEEE Visual Communications and Image Processing (VCIP)},
  year      = {2019},
  url       = {https://arxiv.org/abs/1902.08788}
}""",
    ),
    "derl": System(
        """\
It is **DeRL**, De-expression Residue Learning (Yang, Ciftci, Yin, 2018): a generator makes the same person's neutral
face, and four small networks decide by the layers that make it. The sizes are ours.
""" + OURS.format(kind="reimplementation"),
        """@inproceedings{yang2018derl,
  title     = {Facial Expression Recognition by De-expression Residue Learning},
  author    = {Yang, Huiyuan and Ciftci, Umur and Yin, Lijun},
  booktitle = {IEEE Conference on Computer Vision and Pattern Recognition (CVPR)},
  year      = {2018}
}""",
    ),
    "fn2en": System(
        """\
It is **FN2EN**, [FaceNet2ExpNet](https://arxiv.org/abs/1609.06591) (Ding, Zhou, Chellappa, 2017): a small network whose
convolutions first learn to see faces as a face network does.
""" + OURS.format(kind="reimplementation"),
        """@inproceedings{ding2017fn2en,
  title     = {FaceNet2ExpNet: Regularizing a Deep Face Recognition Net for Expression Recognition},
  author    = {Ding, Hui and Zhou, Shaohua Kevin and Chellappa, Rama},
  booktitle = {IEEE International Conference on Automatic Face and Gesture Recognition (FG)},
  year      = {2017},
  url       = {https://arxiv.org/abs/1609.06591}
}""",
    ),
    "msca": System(
        """\
It is **MSCA** on the backbone `{backbone}`: features of several scales, self-attention over channels, angles to class
centres, after the abstract of Wen, Zhou, Gan and Luo (2024); layers, sizes and equations are ours.
""" + OURS.format(kind="reconstruction"),
        """@article{wen2024multiscale,
  title  = {A discriminative multiscale feature extraction network for facial expression recognition in the wild},
  author = {Wen, Xiaoyu and Zhou, Juxiang and Gan, Jianhou and Luo, Sen},
  year   = {2024}
}""",
    ),
}


def model_card(
        repo_id: str,
        config: dict[str, Any],
        summary: dict[str, Any],
        files: Collection[str] = (),
        license: str | None = None,
) -> str:
    """The README.md of a published model.

    Args:
        repo_id: ``owner/name`` on the Hub.
        config: The model's config.json.
        summary: What the run that made it wrote: a run's ``summary.json``, or a model folder's ``results.json``; empty
            if there is none. What is missing is left out of the card.
        files: Names of the files beside it; pictures are shown where there are any.
        license: Licence of the weights, as the Hub spells it; by the training data if None.
    """
    summary = portable(summary)
    sections = (_use, _preprocessing, _training, _figures, _calibration, _masks, _limits)
    title = f"# {repo_id.split('/')[-1]}\n\n{_introduction(config, summary)}"
    body = [title, *(section(repo_id, config, summary, files) for section in sections),
            _licence(summary, license), _citation(config)]
    data = _metadata(repo_id, summary, license)
    return str(ModelCard(f"---\n{data.to_yaml()}\n---\n\n" + "\n\n".join(text for text in body if text) + "\n"))


def benchmark_results(benchmark: str, repo_id: str, summary: dict[str, Any]) -> list[dict[str, Any]]:
    """A model's accuracy in the Hub's format for ``.eval_results/*.yaml``, which its leaderboards read.

    See https://huggingface.co/docs/hub/eval-results: the data set must be a benchmark of the Hub. For any other the
    Hub reads ``model-index`` in the card's metadata, which every card has.

    Args:
        benchmark: ``owner/dataset`` or ``owner/dataset:task``, as in that data set's eval.yaml.
        repo_id: ``owner/name`` of the model.
        summary: As for ``model_card``.
    """
    dataset, _, task = benchmark.partition(":")
    return [{
        "dataset": {"id": dataset, "task_id": task or "default"},
        "value": round(100 * summary["metrics"]["accuracy"], 2),
        "source": {"url": f"https://huggingface.co/{repo_id}", "name": "Model card"},
        "notes": f"accuracy in %, {_what(summary)}, seed {summary.get('seed', 'unknown')}",
    }]


def training_command(config: dict[str, Any]) -> str:
    """The command that trains such a run: the nearest named configuration, and the options that differ from it.

    Args:
        config: The run's configuration. Paths of this machine are replaced: the root of the data set by ``DIR``.
    """
    config = portable(json.loads(json.dumps(config)))
    if str(config.get("priors", "")).endswith(".safetensors"):
        config["priors"] = "priors.safetensors"  # it is published beside the weights

    def options(name: str) -> dict[str, Any]:
        of_file = parse_config(["--config", name])
        arm = config.get("arm", of_file.arm)
        different = _differences(config, dataclasses.replace(of_file.of_arm(arm), arm=of_file.arm))
        if different.keys() & of_file.per_arm.get(arm, {}).keys():  # it would stand above them
            different = _differences(config, of_file)
        return different

    name, different = min(((name, options(name)) for name in config_names()), key=lambda pair: len(pair[1]))
    words = ["fmpn", "train", "--config", name]
    if config.get("root"):
        words += ["--root", "DIR"]
    for key, value in different.items():
        words += [f"--{key}", value if isinstance(value, str) else json.dumps(value)]
    return shlex.join(words)


def _differences(config: dict[str, Any], other: TrainConfig) -> dict[str, Any]:
    """The options of a run's configuration that decide something and are not those of another."""
    named = json.loads(json.dumps(dataclasses.asdict(other)))
    return {k: v for k, v in config.items() if k not in INDIFFERENT and k in named and v != named[k]}


def _metadata(repo_id: str, summary: dict, license: str | None) -> ModelCardData:
    dataset, names = summary.get("data", {}).get("dataset"), datasets(summary)
    named = {}
    if license is None:
        free = bool(names) and all(name in DATA and DATA[name][2] is None for name in names) and not descent(summary)
        license = "mit" if free else "other"
    if license == "other":
        research = any(name in DATA and DATA[name][2] is not None for name in names)
        named = dict(license_name="research-only" if research else "terms-of-the-training-data",
                     license_link=f"https://huggingface.co/{repo_id}#licence")
    results = []
    if "metrics" in summary:
        args = {k: v for k, v in summary["data"].items() if k != "dataset"}
        of = dict(
            task_type="image-classification",
            task_name="Facial expression recognition",
            dataset_type=dataset,
            dataset_name=title_of(dataset),
            dataset_split=str(summary["split"]["reported on"]),
            dataset_args=args or None,
        )
        metrics = summary["metrics"]
        results = [
            EvalResult(metric_type="accuracy", metric_value=metrics["accuracy"], metric_name="accuracy", **of),
            EvalResult(metric_type="f1", metric_value=metrics["macro_f1"], metric_name="macro F1",
                       metric_args={"average": "macro"}, **of),
        ]
    return ModelCardData(
        library_name="timm",
        pipeline_tag="image-classification",
        license=license,
        datasets=[name for name in names if name in DATA] or None,
        metrics=["accuracy", "f1"] if results else None,
        tags=["timm", "fmpn-timm", "facial-expression-recognition", "face", "emotion"],
        model_name=repo_id.split("/")[-1],
        eval_results=results or None,
        **named,
    )


def _introduction(config: dict, summary: dict) -> str:
    names = ", ".join(config["label_names"])
    arch, args = config["architecture"], config.get("model_args", {})
    on = f", trained on {title_of(summary['data']['dataset'])}" if "data" in summary else ""
    what = f"A facial-expression classifier{on}: a face in, {len(config['label_names'])} expressions out ({names}, in "\
           "the order of the logits)."
    system = _system(config)
    if system is not None:
        backbone = args.get("backbone") or arch.partition("_")[2].removeprefix("lite_")
        network = system.text.replace("{backbone}", backbone)
    else:
        backbone = arch
        network = f"It is the timm model `{arch}`, trained with fmpn-timm as a baseline."
    home = timm.model_entrypoint(backbone).__module__ if timm.is_model(backbone) else "timm"
    if home.partition(".")[0] not in ("timm", "fmpn_timm"):
        network += f" `{backbone}` does not come with timm: whoever loads the weights registers it first."
    options = ", ".join(f"`{k}={json.dumps(v)}`" for k, v in args.items())
    return f"{what}\n\n{network}" + (f"\n\nArchitecture `{arch}` with {options}." if options else "")


def _use(repo_id: str, config: dict, summary: dict, files: Collection[str]) -> str:
    channels, height, width = config["pretrained_cfg"]["input_size"]
    logits = f"(model(faces) / {config['temperature']:g})" if "temperature" in config else "model(faces)"
    masks = "\nlogits, mask, fused = model.forward_motion(faces)   # mask (1, 1, H, W) in [0, 1]: where the face moved"
    return f"""\
## Use

```python
# pip install fmpn-timm
from fmpn_timm import Predictor

for face in Predictor("hf-hub:{repo_id}")("photo.jpg").faces:
    print(face.label, face.probabilities, face.box)
```

Or as a timm model, on faces that are cut out already:

```python
import timm, torch
import fmpn_timm  # registers the models

model = timm.create_model("hf-hub:{repo_id}", pretrained=True).eval()
faces = torch.rand(1, {channels}, {height}, {width})  # aligned faces, {_normalised(config)}
probabilities = {logits}.softmax(1)
print(model.pretrained_cfg["label_names"][probabilities.argmax()]){masks if _is_fmpn(config) else ''}
```

`hf-hub:{repo_id}@<commit>` pins a revision; a copy of this folder loads offline as `local-dir:<folder>`.
In transformers, after `import fmpn_timm`: `TimmWrapperForImageClassification.from_pretrained("{repo_id}")`."""


def _preprocessing(repo_id: str, config: dict, summary: dict, files: Collection[str]) -> str:
    cfg, recipe = config["pretrained_cfg"], config.get("recipe")
    size = cfg["input_size"][-1]
    if recipe:
        detector, side = recipe["detector"], recipe["size"]
        if recipe["hash"] == FER2013_RECIPE.hash and summary.get("data", {}).get("dataset") in ("ferplus", "fer2013"):
            cut = ("FER2013's faces, which are FERPlus's, are cropped roughly, not aligned; a photo is cut so that its "
                   f"face lies as theirs do in the median: found by the detector `{detector}`, aligned to five "
                   f"landmarks, cut at {side} pixels, grey")
        else:
            found = "by the data set's own landmarks" if detector == "dataset" else f"by the detector `{detector}`"
            cut = (f"Faces were found {found}, aligned to five landmarks and cut at {side} pixels with a margin "
                   f"of {recipe['margin']:g}")
        cut += (f": recipe `{recipe['hash']}`, whole in `config.json`. "
                "Faces cut in another way cost accuracy: `fmpn evaluate` refuses them unless told `--any-recipe`, and "
                f"`fmpn data prepare --recipe hf-hub:{repo_id}` cuts them as they should be.")
    else:
        cut = "Faces were taken as the data set ships them; no alignment is recorded."
    resized = load_size_of(cfg)
    crop = f", cropped to {size} in the middle" if resized != size else ""
    return f"""\
## Preprocessing

{cut} They are resized to {resized} pixels{crop}, {_normalised(config)}."""


def _training(repo_id: str, config: dict, summary: dict, files: Collection[str]) -> str:
    if "data" not in summary:
        return ""
    run, samples = summary.get("config"), summary.get("samples", {})
    beside = [title_of(data["dataset"]) + (f" ({data['samples']:,} faces)" if "samples" in data else "")
              for data in summary["data"].get("also", ())]
    rows = [("data", ", and beside it ".join([title_of(summary["data"]["dataset"]), *beside]))]
    options = {k: v for k, v in summary["data"].items() if k != "dataset"}
    if options:
        rows.append(("data options", f"`{json.dumps(options)}`"))
    rows += summary.get("split", {}).items()  # an average has none
    if samples:
        said = {"train": "learnt from", "valid": "selected on", "test": "reported on"}
        rows.append(("faces", ", ".join(f"{said[k]} {v:,}" for k, v in samples.items() if v)))
    titles = {"seed": "seed", "arm": "arm", "best_epoch": "best epoch", "parameters": "parameters",
              "training_seconds": "training, s"}
    rows += [(title, summary[k]) for k, title in titles.items()
             if k in summary and (summary[k] or k == "seed")]  # a run of no epochs has no best one
    rows += summary.get("versions", {}).items()
    text = "## Training\n\n" + markdown_table(["", ""], [[k, str(v)] for k, v in rows])
    if run:
        text += f"\n\n```bash\n{training_command(run)}\n```"
        if descent(summary):
            text += f"\n\n{descent(summary)}."
    return text


def _figures(repo_id: str, config: dict, summary: dict, files: Collection[str]) -> str:
    if "metrics" not in summary:
        return ""
    m, what, seed = summary["metrics"], _what(summary), summary.get("seed", "not recorded")
    scores = f"accuracy **{100 * m['accuracy']:.2f} %**, macro F1 **{100 * m['macro_f1']:.2f} %**, n = {m['n']}"
    error = 100 * math.sqrt(m["accuracy"] * (1 - m["accuracy"]) / max(m["n"], 1))
    rows = []
    for name, row in m["per_class"].items():
        figures = (f"{row[k]:.3f}" if row[k] is not None else "" for k in ("recall", "precision", "f1"))
        rows.append([name, str(row["n"]), *figures])
    picture = "\n\n![Confusion matrix](confusion.png)" if "confusion.png" in files else ""
    return f"""\
## Figures

{what[0].upper()}{what[1:]}: {scores}, pooled over all faces; one seed ({seed}), standard error of the accuracy
{error:.1f} points. More in `results.json`.

{markdown_table(["class", "n", "recall", "precision", "F1"], rows)}{picture}"""


def _calibration(repo_id: str, config: dict, summary: dict, files: Collection[str]) -> str:
    if "temperature" not in config:
        return ""
    text = f"## Calibration\n\nThe logits are divided by the temperature {config['temperature']:g} before the softmax"
    fit = config.get("calibration")
    if not fit:
        return f"{text}."
    rule = f", {fit['rule']} rule" if fit.get("rule") else ""
    ece = " to ".join(f"{100 * fit[key]:.1f} %" for key in ("ece_before", "ece_after"))
    nll = " to ".join(f"{fit[key]:.3f}" for key in ("nll_before", "nll_after"))
    return f"""\
{text}: fitted on {title_of(fit['dataset'])} {fit['split']}{rule}, n = {fit['n']}.
There the expected calibration error (15 bins) goes from {ece}, the mean negative log-likelihood from {nll}.
On other faces believe the probabilities less."""


def _masks(repo_id: str, config: dict, summary: dict, files: Collection[str]) -> str:
    if not _is_fmpn(config):
        return ""
    text, priors = "## Masks", config.get("priors")
    if priors:
        text += f"\n\nThe mask generator learnt from the prior masks `{priors['name']}` ({priors['data']})" + (
            ", which lie beside the weights in `priors.safetensors`." if "priors.safetensors" in files else ".")
    elif summary.get("arm") == "no_prior" and not descent(summary):
        text += "\n\nThe mask was learnt freely, with no prior."
    if "priors.png" in files:
        text += "\n\n![Prior masks](priors.png)"
    if "mean_masks.png" in files:
        text += "\n\nWhat the generator makes of them, mean over the evaluated faces of each class:"
        text += "\n\n![Mean motion masks](mean_masks.png)"
    return text


def _limits(repo_id: str, config: dict, summary: dict, files: Collection[str]) -> str:
    calibrated = ("Probabilities are calibrated on the data named above alone." if "temperature" in config else
                  "Probabilities are not calibrated.")
    return f"""\
## Limits and misuse

- It sorts pictures of faces by what raters called their expression. **Expressions are not emotions**: what a face
  shows says little for certain about what a person feels, thinks or intends.
- Do not decide about people with it: not on work, school, credit, insurance, health, policing, borders or lies. The EU
  AI Act (Article 5) forbids inferring emotions at work and in education.
- Use it on people who know of it and have agreed. It does not, and must not, identify anybody.
- Training faces are not a fair sample of people: age, skin, culture, pose, light, glasses and masks change its errors,
  and only what stands above was measured. Raters disagree; rare classes are weak (see the figures by class).
- Figures are of the data named above. Other data, detectors or framings score lower.
- {calibrated}"""


def _licence(summary: dict, license: str | None) -> str:
    own = FREE if license is None else "" if license == "other" else f"The weights are {license}."
    return f"## Licence\n\nThe code is MIT. {terms(summary, own)}"


def _citation(config: dict) -> str:
    system = _system(config)
    return f"## Citation\n\n```bibtex\n{system.citation}\n```" if system else ""


def _system(config: dict) -> System | None:
    return SYSTEMS.get(config["architecture"].split("_")[0])


def _is_fmpn(config: dict) -> bool:
    return config["architecture"].startswith("fmpn")


def _what(summary: dict) -> str:
    """Data, split and rule of the figures."""
    rule = f", {summary['rule']} rule" if summary.get("rule") else ""
    return f"{title_of(summary['data']['dataset'])}, {summary['split']['reported on']}{rule}"


def _normalised(config: dict) -> str:
    mean, std = config["pretrained_cfg"]["mean"], config["pretrained_cfg"]["std"]
    if not any(mean) and set(std) == {1.0}:
        return "RGB in [0, 1], not normalised"
    return f"RGB in [0, 1], less the mean {list(mean)}, by the standard deviation {list(std)}"
