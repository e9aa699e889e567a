"""About one in twenty random answers ended in KeyError, TypeError or RecursionError, and the trigger died of it."""

from __future__ import annotations

import json
import sys
from random import Random, SystemRandom

import pytest
from google.api_core.exceptions import BadRequest

from provider.hooks.bigquery import translated
from provider.hooks.remote_job import DEEPEST_RESULT, JobStatus, RemoteCallError
from tests.storms import fuzz_services
from tests.storms.fuzz_answers import RandomAnswers

pytestmark = pytest.mark.timeout(300)

ANSWERS = 60


@pytest.mark.parametrize("service", ["powerbi", "entra", "dataform", "bigquery", "http_jobs", "airflow"])
def test_random_answers_end_in_errors_of_ours_alone(service, tmp_path):
    seed = SystemRandom().randrange(2**32)
    sys.stdout.write(f"seed {seed}: python -m tests.storms.fuzz --only {service} --seed {seed} --count {ANSWERS}\n")

    outcome = fuzz_services.run(ANSWERS, seed, tmp_path, service)

    assert outcome.wrong == []
    assert sum(count for name, count in outcome.figures.items() if name.startswith(service)) >= 2 * ANSWERS


def test_a_seed_makes_the_same_answers_again():
    good = {"value": [{"id": "a", "name": "b", "times": [1, 2, 3]}]}
    first, second = (RandomAnswers(Random(7)) for _ in range(2))

    assert [first.body(good) for _ in range(200)] == [second.body(good) for _ in range(200)]


def test_what_is_found_is_told(tmp_path, monkeypatch):
    """The judge is no judge otherwise."""
    from provider.hooks.powerbi import transport

    def broken(response: object) -> None:
        raise KeyError("value")

    monkeypatch.setattr(transport, "json_object", broken)

    assert "KeyError" in "".join(fuzz_services.run(5, 7, tmp_path, "powerbi").wrong)


@pytest.mark.parametrize("bad", ["\x00", "\ud800", float("inf"), 2**70, {1: 2}, "deep"])
def test_result_that_cannot_be_stored_is_left_out_and_says_so(bad):
    value: object = bad
    if bad == "deep":
        for _ in range(DEEPEST_RESULT + 1):
            value = [value]

    status = JobStatus("done", "Completed", result={"rows": 1, "bad": value})

    assert status.ended
    assert list(status.result) == ["omitted"]
    assert "at 'bad" in status.result["omitted"]
    json.dumps(status.result)


def test_texts_of_a_service_become_one_line_that_every_store_takes():
    status = JobStatus("failed", "a\nb\x00", "first\nsecond\x1b[2J\ud800")

    assert (status.detail, status.error) == ("a b", "first second\\x1b[2J?")
    assert str(RemoteCallError("a\nb\x1b]0;x\x07")) == "a b\\x1b]0;x\\x07"


@pytest.mark.parametrize("errors", [7, 0.5, "text", {"reason": "x"}, [None, 3, {"reason": 5}], None, True])
def test_errors_of_an_answer_that_are_no_list_end_in_an_error_of_ours(errors: object) -> None:
    """One in a hundred thousand random answers was an error whose ``errors`` is a number: a TypeError came out."""
    with pytest.raises(RemoteCallError, match="^Start of a job answered 400 "), translated("Start of a job"):
        raise BadRequest("no", errors=errors)
