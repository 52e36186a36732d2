"""Where MLflow shows the runs of studies: addresses for a page that leads from a number to its run.

MLflow names runs itself, by chance. So addresses are looked up in the store when a report asks for them, and a report that
does not ask has the same bytes wherever its records lie.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from typing import Any

from bench import tracking
from bench.errors import BenchError
from bench.records.home import Home


def addresses(home: Home, base: str, studies: Sequence[str] = ()) -> dict[str, dict[str, str]]:
    """By study and run id, the address of the run's page below ``base``, such as http://127.0.0.1:5000.

    Args:
        home: its MLflow store is searched.
        base: where the MLflow UI answers; a report's reader must reach it, this process need not.
        studies: names; all where none is named.

    Raises:
        BenchError: ``base`` is no address of the web.
        Unavailable: the store does not answer.
    """
    if not base.startswith(("http://", "https://")):
        raise BenchError(
            f"MLflow's address begins with http:// or https://, but got {base!r}; give --mlflow http://127.0.0.1:5000"
        )
    base = re.sub(r"^(https?://)[^/]*@", r"\1", base)  # a page is handed on: no account belongs into it
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
    """Our id, the entry's name and MLflow's id of each run that is an entry of a study."""
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
