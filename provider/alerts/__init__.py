"""
Alerts: who is told of what, as rows.

A rule is a row of ``alert_rules``, an alert one of ``alerts``: written by the reconciler with what it tells of, once, and sent by
the DAG ``accelerator_alerts``.
"""
