"""The error for an unknown name: the nearest names, and all of them or the command that lists them."""

from bench.errors import MOST_NAMES, one_of


def test_few_names_are_listed():
    assert str(one_of("rule", "R3", ("R2", "R1"))) == "no rule 'R3'; did you mean 'R2'? there are: R1, R2"
    assert str(one_of("rule", "target", ("R2", "R1"), see="`bench list`")) == "no rule 'target'; there are: R1, R2"


def test_of_many_names_the_nearest_are_told_and_the_command_that_lists_them():
    names = [f"name_{i:02}" for i in range(MOST_NAMES + 1)]
    message = str(one_of("model", "name_07b", names, see="`bench list models`"))
    assert message.startswith("no model 'name_07b'; did you mean 'name_07' or 'name_")
    assert message.endswith("'? there are 41, listed by `bench list models`")
    assert message.count("'") == 2 + 3 * 2


def test_no_command_is_named_that_does_not_list_the_names():
    names = [f"name_{i:02}" for i in range(MOST_NAMES + 1)]
    assert str(one_of("field", "zzz", names)) == "no field 'zzz'; there are 41"
