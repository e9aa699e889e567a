"""
Batch requests → DAG runs.

By itself the triggerer has no way to create a run, so one task does it for all requests that wait, through the supervisor of
its own process (``by_supervisor``). With a connection to Airflow's REST API the triggerer does it (``by_api``). A run carries
the id of its request, which makes starting it twice harmless: where the run is there already and carries our id, an earlier
attempt got that far and died before it could say so.

``loop`` claims requests until nothing is due, ``outcomes`` starts the run of one and says what came of it, ``burst`` calls
helpers. The operators that do this are in :mod:`provider.operators.dispatch`.
"""
