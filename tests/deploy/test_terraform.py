"""The Terraform module of the kit, judged by Terraform itself. The provider's schema is a copy, see ``terraform_provider``."""

from __future__ import annotations

import re
import shutil
from pathlib import Path

import pytest

from tests.deploy.conftest import Judged, Terraform, TerraformIn
from tests.deploy.kit import TERRAFORM, blocks, terraform_text

VARIABLES = blocks("variable")
OUTPUTS = blocks("output")


@pytest.fixture
def module(tmp_path: Path) -> Path:
    """A copy of the module: Terraform writes beside it."""
    return Path(shutil.copytree(TERRAFORM, tmp_path / "module"))


@pytest.fixture
def terraform(module: Path, terraform_in: TerraformIn) -> Terraform:
    return terraform_in(module)


def test_it_is_formatted(terraform: Terraform) -> None:
    done = terraform("fmt", "-check", "-diff", "-recursive")
    assert (done.returncode, done.stdout) == (0, "")


def test_it_is_valid(terraform: Terraform) -> None:
    done = terraform("validate")
    assert (done.returncode, done.stderr) == (0, "")


def test_what_comes_of_the_settings_is_right(judged: Judged) -> None:
    assert judged.code == 0, judged.told
    assert re.search(r"^Success! [1-9]\d* passed, 0 failed\.", judged.told, re.MULTILINE)


@pytest.mark.parametrize(
    ("right", "wrong", "says"),
    [
        ("ack_deadline_seconds ", "ack_deadline ", 'An argument named "ack_deadline" is not expected'),
        ("  role               =", "  rule               =", 'The argument "role" is required'),
        ("max_delivery_attempts = 50", 'max_delivery_attempts = "many"', "a number is required"),
        ("password_wo         = var", "password         = var", "Ephemeral values are not valid"),
        (
            "google_service_account.reader.email",
            "google_service_account.reader.mail",
            'no argument, nested block, or exported attribute named "mail"',
        ),
    ],
)
def test_what_does_not_fit_the_provider_is_seen(terraform: Terraform, module: Path, right: str, wrong: str, says: str) -> None:
    """Or the tests above would say nothing."""
    changed = 0
    for file in module.glob("*.tf"):
        text = file.read_text()
        changed += text.count(right)
        file.write_text(text.replace(right, wrong))
    assert changed
    done = terraform("validate")
    assert done.returncode == 1
    assert says in " ".join(done.stderr.split())


@pytest.mark.parametrize("name", VARIABLES)
def test_every_variable_says_what_it_is_and_refuses_what_it_is_not(name: str) -> None:
    text = VARIABLES[name]
    assert re.search(r'^  description = ".{10,}\."$', text, re.MULTILINE)
    assert re.search(r"^  type        = \S", text, re.MULTILINE)
    error = re.search(r'^    error_message = "(.*)"$', text, re.MULTILINE)
    assert error is not None
    assert error[1].startswith(name)


def test_the_next_commands_are_numbered_outputs() -> None:
    numbers = [int(match[1]) for name in OUTPUTS if (match := re.match(r"next_(\d+)_", name))]
    assert numbers == list(range(1, len(numbers) + 1))
    assert len(numbers) >= 7
    assert all(re.search(r'^  description = ".{10,}\."$', text, re.MULTILINE) for text in OUTPUTS.values())


def test_the_example_is_of_variables_that_there_are() -> None:
    lines = (TERRAFORM / "terraform.tfvars.example").read_text(encoding="utf-8").splitlines()
    named = {match[1] for line in lines if (match := re.match(r"(\w+)\s*=", line))}
    assert named <= VARIABLES.keys()
    needed = {name for name, text in VARIABLES.items() if not re.search(r"^  default ", text, re.MULTILINE)}
    assert needed - {"database_password"} <= named
    assert needed >= {"database_password", "project_id"}


def test_nothing_names_a_machine_or_where_providers_come_from() -> None:
    files = [path for path in TERRAFORM.rglob("*") if path.is_file()]
    assert not [path for path in files if path.suffix in (".hcl",) and not path.name.endswith(".tftest.hcl")]
    assert not re.search(r"registry\.|/opt/|/tmp/|/root/", terraform_text())
