"""Configurations of MONAI are read as data: references and arithmetic give values, and nothing is run."""

import time

import pytest

from medtl.errors import ModelError
from medtl.model.monai_config import Config


def value_of(text, **entries):
    return Config(entries, "inference.json").value(text, "pixdim")


@pytest.mark.parametrize(
    ("text", "value"),
    [
        ("@size", 96),
        ("$@size", 96),
        ("$@size // 2 - 1", 47),
        ("$-@size / 4 * 2 + 1.5", -46.5),
        ("@list::1", 3.0),
        ("$@block#inner * 2", 10),
        ("%block::inner", 5),
        ("$[1.5, 1.5, 1.5] if @high else [3.0, 3.0, 3.0]", [1.5, 1.5, 1.5]),
        ("$[1.5] * 3", [1.5, 1.5, 1.5]),
        ("$@root + '/models/' + @name", "./models/model.pt"),
        (["@size", {"a": "$1 + 1"}], [96, {"a": 2}]),
        ("no reference", "no reference"),
        ("@chain", 96),
    ],
)
def test_references_and_arithmetic_give_values(text, value):
    entries = {"size": 96, "list": [2, 3.0], "block": {"inner": 5}, "high": True, "root": ".", "name": "model.pt"}
    assert value_of(text, **entries, chain="$@size") == value


@pytest.mark.parametrize(
    "text",
    [
        "$__import__('os').system('touch ran')",
        "$import os",
        "$torch.device('cpu')",
        "$len(@size)",
        "$@size.real",
        "$(lambda: 1)()",
        "$[x for x in @list]",
        "$9 ** 9 ** 9",
        "$@list[0]",
        "$f'{@size}'",
        "$1 / 0",
        "$'a' * 1000000000",
        "$[0] * 1000000000",
        "$1e300 * 1e300",
        "$(" * 400,
        "$[" + "1," * 1000 + "]",
        "%configs/train.json::size",
        "@##size",
        "$b'bytes'",
        "$...",
    ],
)
def test_programs_other_files_and_large_values_are_refused(text):
    with pytest.raises(ModelError, match=r"pixdim in inference.json is .*not run or read"):
        value_of(text, size=1, list=[1])


@pytest.mark.parametrize(
    ("entries", "message"),
    [
        ({"a": "@b", "b": "$@a + 1"}, "leads in a circle"),
        ({"a": ["@a"]}, "leads in a circle"),
        ({f"a{'' if n == 0 else n}": f"@a{n + 1}" for n in range(100)} | {"a100": 1}, "leads in a circle, or too far"),
        ({"a": "@missing"}, "Expected the entry 'missing'"),
        ({"a": "@b::7", "b": [1]}, "Expected the entry 'b::7'"),
        ({"a": {"_target_": "os.system"}}, "found the component 'os.system'"),
        ({"a": "x" * 2000}, "a text of 2000 characters"),
    ],
)
def test_references_that_lead_nowhere_are_refused(entries, message):
    with pytest.raises(ModelError, match=message):
        value_of("@a", **entries)


@pytest.mark.parametrize("entry", [lambda n: [f"@a{n}"] * 60, lambda n: f"$[@a{n}, @a{n}, @a{n}, @a{n}]"])
def test_entries_that_grow_without_end_are_refused_at_once(entry):
    entries = {f"a{n}": entry(n + 1) for n in range(15)} | {"a15": 1}
    began = time.monotonic()
    with pytest.raises(ModelError, match=r"needs more than 10000 values|not run or read"):
        value_of("@a0", **entries)
    assert time.monotonic() - began < 5


def test_a_chain_of_references_leads_to_a_component():
    network = {"_target_": "UNet"}
    config = Config({"network_def": "@nets::small", "nets": {"small": network}}, "inference.json")
    assert config.follow("@network_def", "network") is network
    with pytest.raises(ModelError, match="leads in a circle"):
        Config({"a": "@b", "b": "@a"}, "inference.json").follow("@a", "network")
