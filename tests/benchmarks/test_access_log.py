"""Requests are counted by the API server's log: one for each answer, none for what else it says."""

from __future__ import annotations

from pathlib import Path

from benchmarks.access_log import answered

AT = "2026-11-29T23:27:15.565958Z"
REQUEST = f"{AT} [info     ] request finished               [http.access] client_addr=127.0.0.1:50036 duration_us=58259"
LINES = [
    f"{AT} [info     ] Uvicorn running on http://127.0.0.1:49041 (Press CTRL+C to quit) [uvicorn.error] loc=server.py:234",
    f"{REQUEST} method=GET path=/api/v2/dags/~/dagRuns query='limit=100&cursor=' status_code=200",
    f"{AT} [error    ] what a request finished with   [airflow.api] loc=somewhere.py:1",
    f"{REQUEST} method=GET path=/api/v2/dags/sales/dagRuns/b1/taskInstances query='limit=100' status_code=404",
]


def test_each_answer_is_counted_once(tmp_path: Path) -> None:
    log = tmp_path / "api-server.log"
    log.write_text("\n".join(LINES))
    assert answered(log) == 2
