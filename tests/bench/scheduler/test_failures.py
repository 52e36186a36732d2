from __future__ import annotations

from bench.run import Run, new_run
from bench.scheduler.failures import (
    CRASHED,
    DIVERGED,
    HUNG,
    INEFFECTIVE,
    MAX_MICRO_BATCHES,
    OUT_OF_MEMORY,
    describe_exit,
    retry,
)


def small(*settings: str) -> Run:
    return new_run("gradual", ["epochs=4", "device=cpu", "threads=1", "final=0.5", *settings])


def test_out_of_memory_is_tried_with_smaller_micro_batches_up_to_a_cap() -> None:
    run, seen = small("batch=64"), list[int]()
    while (again := retry(run, OUT_OF_MEMORY, 1)) is not None:
        seen.append(again.recipe.micro_batches)
        assert again.id != run.id  # it is another run, and says so
        run = again
    assert seen == [2, 4, 8, MAX_MICRO_BATCHES]


def test_what_cannot_go_away_is_not_tried_again() -> None:
    assert retry(small(), DIVERGED, 1) is None
    assert retry(small(), INEFFECTIVE, 1) is None
    for kind in (CRASHED, HUNG):
        assert retry(small(), kind, 1) == small()
        assert retry(small(), kind, 3) is None


def test_the_end_of_a_process_without_a_result_is_described() -> None:
    assert describe_exit(-9) == "the process was ended by signal 9 (often the system, when memory runs out)"
    assert describe_exit(-11) == "the process was ended by signal 11"
    assert describe_exit(3) == "the process ended with exit code 3 and sent no result"
