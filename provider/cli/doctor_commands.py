"""``accelerator doctor``: whether everything that this package stands on is as it should be, and what to do where not."""

from __future__ import annotations

import argparse
import logging
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import asdict

from provider.cli.output import busy, say, write_data, write_table
from provider.doctor.everything import examine_everything, is_well
from provider.metadata.engine import write_session
from provider.metadata.left_tokens import leave_token


def doctor(args: argparse.Namespace) -> int:
    """Examine everything, or only leave a token; return 1 where a check found an error."""
    if args.leave is not None:
        with write_session() as session:
            leave_token(session, args.leave)
        say("Left the token in the application database. Elsewhere: `accelerator doctor --expect TOKEN`.")
        return 0
    with busy("Examining everything"), _no_logs():
        findings = examine_everything(args.expect)
    if args.output != "table":
        write_data([asdict(finding) for finding in findings], args.output)
    else:
        rows = [(one.state, one.check, one.seen, one.remedy) for one in findings]
        write_table(("state", "check", "seen", "what to do"), rows, below=("seen", "what to do"))
    return 0 if is_well(findings) else 1


@contextmanager
def _no_logs() -> Iterator[None]:
    """Keep logs of libraries out of what is printed: Airflow writes them to the standard output, and the findings tell all."""
    before = logging.root.manager.disable
    logging.disable(logging.CRITICAL)
    try:
        yield
    finally:
        logging.disable(before)
