"""What an alert says: what failed, why, since when, and where to look. No Airflow, no SQLAlchemy."""

from __future__ import annotations

import html
import json
import re
from collections.abc import Callable, Sequence
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any
from urllib.parse import quote

from provider.texts import cut, one_line, task_name

if TYPE_CHECKING:
    from provider.alerts.outbox import ClaimedAlert

#: Alerts that one message tells in full; of more it tells the number.
MOST_IN_FULL = 20
_STEERS_MARKDOWN = re.compile(r"[\\`*_\[\]<>]|^[#+-]")
_LONGEST_TITLE, _LONGEST_TEXT = 200, 20_000
#: Slack takes 40,000 characters, Teams 28 kB of JSON, both with title and address.
_MOST_OF_SLACK, _MOST_OF_TEAMS = 35_000, 23_000
#: Characters of an error that are always told.
_SHORTEST_SHARE = 80

_DID = {
    "failure": "failed",
    "retry": "failed and is tried again",
    "blocked": "is blocked by a failure before it",
    "success": "succeeded",
    "late": "is late",
    "not_started": "has not started",
    "slow": "takes unusually long",
    "test": "is only what a test of the rule names",
}


def message_of(alerts: Sequence[ClaimedAlert], base_url: str) -> dict[str, Any]:
    """
    Return what a notifier's templates know as ``alert``.

    :param alerts: of one rule and one batch, at least one.
    :param base_url: of Airflow's API server.
    :return: ``title`` (one line), ``text``, ``html``, ``slack`` and ``markdown`` (the same, escaped for them), ``url`` of the
        batch, ``rule_id``, ``workflow_id``, ``batch_id``, ``event_ids``, and ``alerts``: a dict of each with its columns.
    """
    first = alerts[0]
    more = f", and {len(alerts) - 1} more" if len(alerts) > 1 else ""
    title = cut(one_line(f"[{first.workflow_id}] {_headline(first)}{more}"), _LONGEST_TITLE)
    url = page_of(first, base_url)
    text = _text(alerts, _LONGEST_TEXT)
    for_slack = _fitting(alerts, lambda text: html.escape(text, quote=False), len, _MOST_OF_SLACK)
    for_teams = _fitting(alerts, _as_markdown, lambda text: len(json.dumps(text)), _MOST_OF_TEAMS)
    link = html.escape(url)
    return {
        "title": title,
        "text": f"{text}\n{url}",
        "html": f'<pre style="white-space: pre-wrap">{html.escape(text)}</pre>\n<p><a href="{link}">{link}</a></p>',
        # https://docs.slack.dev/messaging/formatting-message-text: these three steer it, and nothing else has to be escaped.
        "slack": f"{html.escape(title, quote=False)}\n{for_slack}\n{html.escape(url, quote=False)}",
        "markdown": f"**{_as_markdown(title)}**\n\n{for_teams}\n\n[Open the page]({url})",
        "url": url,
        "rule_id": first.rule_id,
        "workflow_id": first.workflow_id,
        "batch_id": first.batch_id,
        "event_ids": [alert.event_id for alert in alerts],
        "alerts": [_as_dict(alert) for alert in alerts],
    }


def _text(alerts: Sequence[ClaimedAlert], longest: int) -> str:
    """
    Return what happened in some characters: of each alert its share, so that a long error leaves all others to be seen.

    :param longest: of it, in characters.
    """
    told = alerts[:MOST_IN_FULL]
    share = longest // len(told) - _LONGEST_TITLE
    lines = [line for alert in told for line in _lines(alert, max(_SHORTEST_SHARE, share))]
    if len(alerts) > len(told):
        lines.append(f"… and {len(alerts) - len(told)} more alerts of the rule {alerts[0].rule_id}")
    return cut("\n".join(lines), longest)


def _fitting(alerts: Sequence[ClaimedAlert], escape: Callable[[str], str], size: Callable[[str], int], most: int) -> str:
    """Return what happened, escaped, in a size of *most*: what escaping makes of a character may be five, or twelve bytes."""
    longest = _LONGEST_TEXT
    while size(told := escape(_text(alerts, longest))) > most:
        longest //= 2
    return told


def _as_markdown(text: str) -> str:
    """
    Return a text as Markdown that shows it: every line a paragraph, and nothing of it a link or a tag.

    What Teams knows of Markdown: https://learn.microsoft.com/en-us/microsoftteams/platform/task-modules-and-cards/cards/cards-format.
    """
    return "\n\n".join(_STEERS_MARKDOWN.sub(r"\\\g<0>", line.strip()) for line in text.splitlines() if line.strip())


def page_of(alert: ClaimedAlert, base_url: str) -> str:
    """Return the address of the page that shows more: that of the batch, or of all batches."""
    page = f"{base_url.rstrip('/')}/accelerator/"
    if alert.batch_id is None:
        return page
    return f"{page}?dag_id={quote(alert.workflow_id, safe='')}&run_id={quote(alert.batch_id, safe='')}"


def _headline(alert: ClaimedAlert) -> str:
    did = _DID.get(alert.event, alert.event)
    if alert.task_id is not None:
        return f"{task_name(alert.task_id, alert.map_index)} of {alert.batch_id} {did}"
    return f"batch {alert.batch_id} {did}" if alert.batch_id is not None else f"the workflow {did}"


def _lines(alert: ClaimedAlert, longest: int) -> list[str]:
    """
    Return what happened, and below it why, by whom and where.

    :param longest: of one line below, in characters.
    """
    details = alert.details
    tried = f", try {alert.try_number}" if alert.try_number is not None else ""
    lines = [f"{_headline(alert)}{tried}: {_moment(alert.happened_at)}{_since(alert)}"]
    if note := details.get("note"):
        lines.append(f"    {one_line(note, min(longest, 1000))}")
    if error := details.get("error"):
        lines.append(f"    {one_line(error, min(longest, 2000))}")
    if person := details.get("ended_by"):
        lines.append(f"    by {one_line(person, 250)} ({details.get('cause')})")
    if url := details.get("remote_job_url"):
        lines.append(f"    {one_line(url, 2000)}")
    return lines


def _moment(at: datetime) -> str:
    return f"{at.astimezone(UTC):%Y-%m-%d %H:%M:%S} UTC"


def _since(alert: ClaimedAlert) -> str:
    started = alert.details.get("started_at")
    if not isinstance(started, str):
        return ""
    try:
        return f", begun {_moment(datetime.fromisoformat(started))}"
    except ValueError:  # a known secret that stands in a time is masked in it
        return ""


def _as_dict(alert: ClaimedAlert) -> dict[str, Any]:
    columns = ("event", "event_id", "workflow_id", "batch_id", "task_id", "map_index", "try_number")
    return {
        **{column: _safe(getattr(alert, column)) for column in columns},
        "happened_at": alert.happened_at.isoformat(),
        **{name: _safe(value) for name, value in alert.details.items()},
    }


def _safe(value: Any) -> Any:
    """Return a foreign text on one line: in the subject of a mail a line break would begin another header, or end the sending."""
    return one_line(value, 4000) if isinstance(value, str) else value
