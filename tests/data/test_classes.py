"""Tests of the canonical classes and their aliases."""

import pytest

from fmpn_timm.data.classes import ALIASES, EXPRESSIONS, canonical
from fmpn_timm.errors import InputError


def test_order_is_ferplus_s():
    assert EXPRESSIONS == ("neutral", "happiness", "surprise", "sadness", "anger", "disgust", "fear", "contempt")


@pytest.mark.parametrize("name", EXPRESSIONS)
def test_canonical_names_are_their_own(name):
    assert canonical(name) == name


@pytest.mark.parametrize(
    ("alias", "name"),
    [
        ("happy", "happiness"),
        ("Happy", "happiness"),
        ("Angry", "anger"),
        ("SAD", "sadness"),
        ("FE", "fear"),
        ("ne", "neutral"),
        ("SU", "surprise"),
        ("Di", "disgust"),
        (" contempt ", "contempt"),
    ],
)
def test_aliases_in_any_case(alias, name):
    assert canonical(alias) == name


def test_no_alias_is_shared():
    names = [alias for name, aliases in ALIASES.items() for alias in (name, *aliases)]
    assert len(names) == len(set(names))
    assert tuple(ALIASES) == EXPRESSIONS
    assert all(name == name.strip().lower() for name in names)


@pytest.mark.parametrize("name", ["", "3", "happi", "valence"])
def test_unknown_name_lists_the_names(name):
    with pytest.raises(InputError, match=f"Unknown expression '{name}': use one of neutral, happiness, .*contempt"):
        canonical(name)
