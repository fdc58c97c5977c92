"""Write docs/cli.md, the page of the command line, from the parsers themselves.

    python docs/generate.py            # or: make docs
"""

import argparse
import itertools
import json
import re
from collections.abc import Iterator
from dataclasses import MISSING, fields
from pathlib import Path

from fmpn_timm.cli import command_parser, crossval_parser
from fmpn_timm.markdown import markdown_table
from fmpn_timm.training.config import CONFIGS, TrainConfig, config_names

PAGE = Path(__file__).resolve().parent / "cli.md"


def page() -> str:
    """The page as Markdown."""
    parts = ["# The command line", "Made from the program itself by `make docs`."]
    for name, command in commands(command_parser(), "fmpn"):
        parts += [f"## `{name}`", _sentence(command.description or ""), options_table(command)]
        if name == "fmpn train":
            parts += ["Every field of a configuration file is an option, with a value (`--compile true`), and may be "
                      "written with hyphens as those of the other commands are (`--mask-epochs 2`). `--config` names "
                      "the file, or one that comes with the package; without it `drawn` is used, less the splits that "
                      "another `--dataset` has not.", configurations_table(),
                      "The defaults below hold for what neither the file nor the command line says.", config_table()]
        if name == "fmpn crossval":
            crossval = crossval_parser()
            parts += [_sentence(crossval.description), options_table(crossval), _sentence(crossval.epilog)]
    return "\n\n".join(part for part in parts if part) + "\n"


def commands(parser: argparse.ArgumentParser, name: str) -> Iterator[tuple[str, argparse.ArgumentParser]]:
    """The commands that do something, by their full names."""
    groups = [action for action in parser._actions if isinstance(action, argparse._SubParsersAction)]
    if not groups:
        yield name, parser
    for group in groups:
        helps = {choice.dest: choice.help for choice in group._choices_actions}
        for word, below in group.choices.items():
            below.description = below.description or helps.get(word)
            yield from commands(below, f"{name} {word}")


def options_table(parser: argparse.ArgumentParser) -> str:
    """Arguments and options as a Markdown table; empty if there are none."""
    actions = [a for a in parser._actions if not isinstance(a, argparse._HelpAction)]
    rows = [[_cell(_called(action)), _cell(action.help or "")] for action in actions]
    return markdown_table(["option", "what"], rows) if rows else ""


def configurations_table() -> str:
    """The package's configurations, each with the first sentence of its comment, as a Markdown table."""
    rows = []
    for name in config_names():
        lines = (CONFIGS / f"{name}.yaml").read_text(encoding="utf-8").splitlines()
        text = " ".join(line.lstrip("# ") for line in itertools.takewhile(lambda line: line.startswith("#"), lines))
        rows.append([f"`{name}`", _cell(re.split(r"(?<=[.:]) ", text)[0].rstrip(".:"))])
    return markdown_table(["configuration", "what"], rows)


def config_table() -> str:
    """The fields of a configuration as a Markdown table."""
    listed = (TrainConfig.__doc__ or "").partition("Args:\n")[2]
    helps = {name: " ".join(text.split()) for name, text in re.findall(r"^ {8}(\w+): (.*?)(?=^ {8}\w|\Z)", listed,
                                                                     re.MULTILINE | re.DOTALL)}
    rows = []
    for field in fields(TrainConfig):
        default = field.default_factory() if field.default is MISSING else field.default
        shown = "" if default in (None, {}) else f"`{json.dumps(default) if isinstance(default, bool) else default}`"
        rows.append([f"`--{field.name}`", shown, _cell(helps[field.name].replace("``", "`"))])
    return markdown_table(["option", "default", "what"], rows)


def _called(action: argparse.Action) -> str:
    metavar = action.metavar
    if metavar is None and action.choices is not None:
        metavar = "{" + ",".join(map(str, action.choices)) + "}"
    if not action.option_strings:
        return f"`{metavar or action.dest}`"
    if action.nargs == 0:
        return f"`{', '.join(action.option_strings)}`"
    metavar = metavar or action.dest.upper()
    return f"`{', '.join(action.option_strings)} {' '.join(metavar) if isinstance(metavar, tuple) else metavar}`"


def _cell(text: str) -> str:
    return text.replace("%%", "%").replace("|", "\\|")


def _sentence(text: str) -> str:
    return text[:1].upper() + text[1:].rstrip(".") + "." if text else ""


if __name__ == "__main__":
    PAGE.write_text(page(), encoding="utf-8")
