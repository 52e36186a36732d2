"""An architecture as text: what is read, what is written back, and one line for what is neither."""

import pytest

from bench.cli.options import split_models
from bench.errors import BenchError
from bench.models.architecture import parse, spell


@pytest.mark.parametrize(
    ("text", "name", "arguments"),
    [
        ("resnet18", "resnet18", {}),
        ("resnet18.a1_in1k:drop_path_rate=0.1", "resnet18.a1_in1k", {"drop_path_rate": 0.1}),
        ("a:width=.5,channels=(16, 24),deep=True", "a", {"width": 0.5, "channels": (16, 24), "deep": True}),
        ("a:dims=[1,[2]],deep=false,none=null", "a", {"dims": (1, (2,)), "deep": False, "none": None}),
        ("a:act_layer='gelu',n=-3", "a", {"act_layer": "gelu", "n": -3}),
    ],
)
def test_text_is_read_and_written_back(text: str, name: str, arguments: dict[str, object]) -> None:
    assert parse(text) == (name, arguments)
    assert parse(spell(name, arguments)) == (name, arguments)


@pytest.mark.parametrize(
    "text",
    [
        *("a:", "a:0.5", "a:width", "a:width=", "a:width=half", "a:width=1,width=2", "a:b:c=1", "a:c=1)", "a:c=1)(d=2"),
        *("a:c=exit()", "a:**{'c':1}", "a:c=1) or f(c=2", "a:c={1:2}", "a:c=1j", "a:c=b'x'", "a:c=[x for x in 'y']"),
        *("a:c=1\n", "a:c=" + 9999 * "("),
    ],
)
def test_anything_but_literals_is_refused(text: str) -> None:
    if text == "a:c=1\n":
        assert parse(text) == ("a", {"c": 1})
        return
    with pytest.raises(BenchError, match="a model is written name or name:argument=value,argument=value, but got"):
        parse(text)


@pytest.mark.parametrize("key", ["num_classes", "img_size", "pretrained", "checkpoint_path", "features_only"])
def test_what_the_suite_decides_is_no_argument(key: str) -> None:
    with pytest.raises(BenchError, match=f"is given arguments of its architecture, but got {key} in"):
        parse(f"resnet18:{key}=1")


def test_commas_between_arguments_separate_no_models() -> None:
    assert split_models("resnet18,cifar_resnet20") == ("resnet18", "cifar_resnet20")
    text = "cifar_resnet20:width=0.5,test_resnet:channels=(8,8,16,16),stem_width=4,test_convnext:dims=[4,8,12,16],vit"
    names = [parse(part)[0] for part in split_models(text)]
    assert names == ["cifar_resnet20", "test_resnet", "test_convnext", "vit"]
