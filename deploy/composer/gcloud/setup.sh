#!/usr/bin/env bash
# Sets up what the accelerator needs beside and in a Composer environment: the same as ../terraform, for who has no Terraform.
# Run it again at any time: what is there already stays. `./setup.sh STEP…` runs some of the steps alone.
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")"
[[ -f settings.sh ]] || {
  echo 'error: there is no settings.sh; copy settings.example.sh and say what is yours.' >&2
  exit 1
}
# shellcheck source=settings.example.sh
source settings.sh
# shellcheck source=lib.sh
source lib.sh
# shellcheck source=steps.sh
source steps.sh

STEPS=(services accounts database intake work secrets environment)
(($#)) || set -- "${STEPS[@]}"

for step in "$@"; do
  [[ " ${STEPS[*]} password " == *" $step "* ]] || fail "there is no step $step; there are: ${STEPS[*]} password."
done
check_settings
know_names
know_password "$@"
for step in "$@"; do
  say "$step"
  "step_$step"
done
say 'what is next'
next_commands
