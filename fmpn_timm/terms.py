"""The terms of weights: those of the data they were trained on, and of the weights that training began with."""

from typing import Any

__all__ = ["DATA", "datasets", "descent", "terms", "title_of"]

RESEARCH = "Its owners give it for non-commercial research; so the weights are for research too."
UNCLEAR = "pictures come from a web search and have no clear licence; so the weights are for research."
#: Title, page and terms of the data sets weights are trained on.
DATA = {
    "affectnet": ("AffectNet", "http://mohammadmahoor.com/pages/databases/affectnet/", RESEARCH),
    "bp4d": ("BP4D+", "https://www.cs.binghamton.edu/~lijun/Research/3DFE/3DFE_Analysis.html", RESEARCH),
    "bu3dfe": ("BU-3DFE", "https://www.cs.binghamton.edu/~lijun/Research/3DFE/3DFE_Analysis.html", RESEARCH),
    "bu4dfe": ("BU-4DFE", "https://www.cs.binghamton.edu/~lijun/Research/3DFE/3DFE_Analysis.html", RESEARCH),
    "ckplus": ("CK+", "https://www.jeffcohn.net/Resources/", RESEARCH),
    "drawn": ("faces drawn by fmpn-timm", None, None),
    "fer2013": ("FER2013", None, f"Its {UNCLEAR}"),
    "ferplus": ("FERPlus", "https://github.com/microsoft/FERPlus", f"The labels are MIT; FER2013's {UNCLEAR}"),
    "ict": ("people rendered with ICT FaceKit", "https://github.com/ICT-VGL/ICT-FaceKit", None),
    "jaffe": ("JAFFE", "https://zenodo.org/records/3451524", RESEARCH),
    "mmi": ("MMI", "https://mmifacedb.eu", RESEARCH),
    "oulu_casia": ("Oulu-CASIA", None, RESEARCH),
    "rafdb": ("RAF-DB", "http://www.whdeng.cn/RAF/model1.html", RESEARCH),
    "sfew": ("SFEW 2.0", "https://cs.anu.edu.au/few/", RESEARCH),
    "tfd": ("TFD", None, RESEARCH),
}

#: What is said of weights that were trained on data of ours alone.
FREE = "The weights are MIT."


def terms(summary: dict[str, Any], own: str = FREE) -> str:
    """The terms of a model's weights, in words: those of the data, and of the weights that training began with.

    Args:
        summary: A run's ``summary.json``, or the ``results.json`` of a published model.
        own: What is said where neither has any.
    """
    names = datasets(summary)
    if names and all(name in DATA for name in names):
        titles = [f"[{title}]({url})" if url else title for title, url, _ in (DATA[name] for name in names)]
        theirs = [f"{titles[i]}: {DATA[name][2]}" if len(names) > 1 else DATA[name][2] for i, name in enumerate(names)
                  if DATA[name][2]]
        data = f"Trained on {' and '.join(titles)}. {' '.join(theirs) or ('' if descent(summary) else own)}".strip()
    else:
        data = "The weights come under the terms of the data they were trained on."
    if descent(summary):
        data += f" {descent(summary)}, whose terms hold too."
    return data


def datasets(summary: dict[str, Any]) -> list[str]:
    """The data sets a model was trained on."""
    data = summary.get("data", {})
    names = [data.get("dataset"), *(other.get("dataset") for other in data.get("also", []))]
    return list(dict.fromkeys(name for name in names if name))


def descent(summary: dict) -> str:
    """What other weights training began with or learnt from, as a sentence; empty if there were none."""
    run = summary.get("config") or summary.get("origin", {})
    parts = []
    if run.get("init"):
        parts.append(f"starts from {_weights(run['init'], 'init')}")
    elif run.get("pretrained_backbone"):
        parts.append("starts from the backbone's ImageNet weights")
    if run.get("teacher"):
        parts.append(f"is taught by {_weights(run['teacher'], 'teacher')}")
    return f"It {' and '.join(parts)}" if parts else ""


def _weights(names: str, option: str) -> str:
    """What weights these are, names after commas; a folder of one's own says nothing to others."""
    said = (f"the weights of another run (`--{option}`)" if name.startswith("local-dir:") else f"`{name}`"
            for name in names.split(","))
    return " and ".join(dict.fromkeys(said))


def title_of(dataset: str) -> str:
    """A data set's title; its own name where it is none of ours."""
    if dataset == "folder":
        return "a folder of pictures"
    return DATA[dataset][0] if dataset in DATA else dataset
