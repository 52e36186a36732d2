from __future__ import annotations

from dataclasses import dataclass

import pytest

from bench.config import Config, digest, hp, rule
from bench.errors import BenchError


@dataclass(frozen=True)
class Knobs(Config):
    share: float = hp(0.5, low=0, below=1, help="a share")
    count: int = hp(3, low=1)
    law: str = hp("linear", choices=("linear", "cosine"))
    wanted: float | None = hp(None, above=0)
    parts: tuple[float, ...] = hp((0.5,), low=0, high=1)
    on: bool = hp(False)
    where: str = hp("here", identity=False)


def test_values_are_cast_from_text_and_json() -> None:
    made = Knobs(share="0.25", count="7", wanted="none", parts="0.1,0.9", on="yes")  # type: ignore[arg-type]
    assert made == Knobs(share=0.25, count=7, wanted=None, parts=(0.1, 0.9), on=True)
    assert Knobs.from_dict(made.to_dict()) == made
    assert hash(Knobs.from_dict(made.to_dict())) == hash(made)


@pytest.mark.parametrize(
    ("values", "told"),
    [
        ({"share": 1.0}, "`0 <= share < 1` must hold, but got share=1.0"),
        ({"share": -0.1}, "`0 <= share < 1` must hold"),
        ({"share": float("nan")}, "`share` must be a finite number, but got nan"),
        ({"count": 2.5}, "`count` must be a whole number, but got 2.5"),
        ({"count": "many"}, "`count` must be a whole number, but got 'many'"),
        ({"law": "sine"}, "`law in linear, cosine` must hold, but got law='sine'"),
        ({"wanted": 0}, "`0 < wanted` must hold"),
        ({"parts": (0.5, 1.5)}, "`0 <= parts <= 1` must hold"),
        ({"on": "perhaps"}, "`on` must be true or false"),
        ({"count": True}, "`count` must be a whole number"),
    ],
)
def test_bad_values_are_refused_with_the_rule_and_the_value(values: dict[str, object], told: str) -> None:
    with pytest.raises(BenchError) as caught:
        Knobs(**values)  # type: ignore[arg-type]
    assert told in str(caught.value)


def test_an_unknown_field_names_the_nearest() -> None:
    with pytest.raises(BenchError, match="did you mean 'share'"):
        Knobs.from_dict({"shares": 0.1})


def test_identity_is_what_differs_from_the_defaults() -> None:
    assert Knobs().identity() == {"class": "Knobs"}
    assert Knobs(count=4, where="there").identity() == {"class": "Knobs", "count": 4}


def test_the_digest_is_pinned() -> None:
    """If this fails, results on disk are no longer found under their ids: do not change how identities are hashed."""
    assert digest({"class": "Knobs", "count": 4}) == digest({"count": 4, "class": "Knobs"}) == "fe8c6b6bd9b4"


def test_rules_are_readable() -> None:
    fields = Knobs.__dataclass_fields__
    assert rule(fields["share"]) == "0 <= share < 1"
    assert rule(fields["law"]) == "law in linear, cosine"
    assert rule(fields["on"]) == ""
