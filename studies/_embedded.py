"""What a first look at a method uses: the embedded digits, two small timm architectures, a recipe that suits both."""

from __future__ import annotations

from typing import Any

MODELS = ("test_efficientnet", "test_resnet")
RECIPE = ("epochs=15", "batch=64", "lr=0.05")


def with_recipe(declared: dict[str, Any]) -> dict[str, Any]:
    """The declaration with the digits' recipe in front of its own settings (which win), if it is about the digits."""
    if declared.get("task", "digits") != "digits":
        return declared
    return {**declared, "settings": (*RECIPE, *declared.get("settings", ()))}
