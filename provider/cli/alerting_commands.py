"""``accelerator alerts …``: its commands and their arguments. Only the standard library is imported here."""

from __future__ import annotations

from provider.cli.command import OUTPUT, Command, Group, argument, positive

ALERTS = Group(
    "alerts",
    "Who is told of what: rules, and what they have told",
    (
        Command(
            "list",
            "List alerts, newest first: sent, waiting, or given up and why",
            "provider.cli.alert_commands:show",
            (
                argument("--state", choices=("waiting", "sent", "failed"), help="only alerts in this state"),
                argument("--workflow", metavar="WORKFLOW", help="only alerts of this workflow"),
                argument("--limit", type=positive, default=20, metavar="N", help="at most N alerts (default 20)"),
                OUTPUT,
            ),
        ),
        Command(
            "rules",
            "List the rules; exit code 1 where one of them cannot be used",
            "provider.cli.alert_commands:rules",
            (OUTPUT,),
        ),
        Command(
            "load",
            "Store the rules of a YAML or JSON file: all of them, or none when one has a problem",
            "provider.cli.alert_commands:load",
            (
                argument("file", metavar="FILE", help="a map with the key alert_rules; - is standard input"),
                argument("--prune", action="store_true", help="also delete every stored rule that the file does not have"),
                argument("--dry-run", action="store_true", help="only check; store nothing"),
            ),
        ),
        Command(
            "test",
            "Send a test by a rule, on the way that all its alerts go",
            "provider.cli.alert_commands:test",
            (argument("rule_id", metavar="RULE", help="rule id"),),
        ),
        Command("retry", "Send once more what was given up", "provider.cli.alert_commands:retry"),
    ),
)
