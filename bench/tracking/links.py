"""Addresses of runs in MLflow's user interface, for links from a report's numbers.

MLflow gives runs random ids. So addresses are read from the store when a report asks for links; a report without links has the
same bytes on every machine.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from typing import Any

from bench import tracking
from bench.errors import BenchError
from bench.records.home import Home


def addresses(home: Home, base: str, studies: Sequence[str] = ()) -> dict[str, dict[str, str]]:
    """Returns the address of each run's page below ``base``, by study and run id.

    Args:
        home: whose MLflow store is searched.
        base: the address of the MLflow UI, such as http://127.0.0.1:5000; readers of the report must reach it.
        studies: names of studies; empty for all.

    Raises:
        BenchError: ``base`` is not an HTTP address.
        Unavailable: the store does not answer.
    """
    if not base.startswith(("http://", "https://")):
        raise BenchError(
            f"MLflow's address begins with http:// or https://, but got {base!r}; give --mlflow http://127.0.0.1:5000"
        )
    base = re.sub(r"^(https?://)[^/]*@", r"\1", base)  # reports are shared: they must hold no account
    client, found = tracking.connect(home), dict[str, dict[str, str]]()
    for experiment in client.search_experiments():
        if studies and experiment.name not in studies:
            continue
        shown = sorted(_runs(client, experiment.experiment_id))
        pages = {
            run: f"{base.rstrip('/')}/#/experiments/{experiment.experiment_id}/runs/{id_}" for run, _, id_ in shown
        }
        if pages:
            found[experiment.name] = pages
    return found


def _runs(client: Any, experiment: str) -> Iterator[tuple[str, str, str]]:
    """Yields the run id, the entry's name and MLflow's id of each run that is an entry of a study."""
    token = None
    while True:
        page = client.search_runs([experiment], max_results=1000, page_token=token)
        for run in page:
            tags = run.data.tags
            if "bench.run" in tags:
                yield tags["bench.run"], tags.get("bench.entry", ""), run.info.run_id
        token = page.token
        if not token:
            return
