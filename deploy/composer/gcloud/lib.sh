# shellcheck shell=bash
# What the steps share.

say() { printf '\n== %s\n' "$*" >&2; }

fail() {
  printf 'error: %s\n' "$*" >&2
  exit 1
}

# must NAME PATTERN WHAT: the setting has to match, or the script ends before it has done anything.
must() {
  local value=${!1-}
  [[ $value =~ ^$2$ ]] || fail "$1 is '$value'; it must be $3. Correct settings.sh."
}

# may NAME PATTERN WHAT: the same, or empty.
may() { [[ -z ${!1-} ]] || must "$@"; }

# unless_there DESCRIBE… -- CREATE…: runs the second command where the first one fails.
unless_there() {
  local -a look=()
  while [[ $1 != -- ]]; do
    look+=("$1")
    shift
  done
  shift
  if "${look[@]}" >/dev/null 2>&1; then
    say "there already: ${look[*]}"
  else
    "$@"
  fi
}

g() { gcloud --project "$PROJECT_ID" --quiet "$@"; }

grant_project() { g projects add-iam-policy-binding "$PROJECT_ID" --member "$1" --role "$2" --condition None >/dev/null; }

check_settings() {
  must PROJECT_ID '[a-z][a-z0-9-]{4,28}[a-z0-9]' 'the id of a project'
  must REGION '[a-z]+-[a-z]+[0-9]{1,2}' 'a region such as europe-west3'
  must NETWORK 'projects/[^/]+/global/networks/[^/]+' 'projects/PROJECT/global/networks/NAME'
  must SUBNETWORK 'projects/[^/]+/regions/[^/]+/subnetworks/[^/]+' 'projects/PROJECT/regions/REGION/subnetworks/NAME'
  must MANAGE_ENVIRONMENT '(true|false)' 'true or false'
  must ENVIRONMENT_NAME '[a-z]([a-z0-9-]{0,62}[a-z0-9])?' 'small letters, digits and hyphens'
  may ENVIRONMENT_SERVICE_ACCOUNT '[^@ ]+@[^@ ]+\.gserviceaccount\.com' 'the e-mail of a service account'
  must IMAGE_VERSION 'composer-3-airflow-3\.3(\.[0-9]+(-build\.[0-9]+)?)?' 'a Composer 3 image with Airflow 3.3'
  must PACKAGE_NAME '[a-z0-9]([a-z0-9._-]*[a-z0-9])?' 'the name of a package'
  must PACKAGE_VERSION '\[postgres\](==|>=|~=)[0-9]+(\.[0-9]+)*' 'extra and version, such as [postgres]==0.1.0'
  must WORKERS_MIN '[1-9][0-9]?' 'a number from 1'
  must WORKERS_MAX '[1-9][0-9]?' 'a number from 1'
  must WORKERS_CONCURRENCY '([1-9]|1[0-9]|2[0-4])' 'a number from 1 to 24'
  must TRIGGERERS '([1-9]|10)' 'a number from 1 to 10'
  must SCHEDULERS '([1-9]|10)' 'a number from 1 to 10'
  may AIRFLOW_REGISTRATION_ROLE '[A-Za-z][A-Za-z0-9_ -]*' 'a role in Airflow'
  check_database_settings
  check_intake_settings
  [[ $MANAGE_ENVIRONMENT == true || -n $ENVIRONMENT_SERVICE_ACCOUNT ]] ||
    fail 'MANAGE_ENVIRONMENT=false needs ENVIRONMENT_SERVICE_ACCOUNT, the account that the environment has.'
}

check_database_settings() {
  must DATABASE_INSTANCE '[a-z]([a-z0-9-]{0,78}[a-z0-9])?' 'small letters, digits and hyphens'
  must DATABASE_VERSION 'POSTGRES_1[3-9]' 'such as POSTGRES_16'
  must DATABASE_TIER 'db-(custom-[0-9]+-[0-9]+|f1-micro|g1-small)' 'such as db-custom-1-3840'
  must DATABASE_HIGHLY_AVAILABLE '(true|false)' 'true or false'
  must DATABASE_DELETION_PROTECTION '(true|false)' 'true or false'
  must MAX_CONNECTIONS '[1-9][0-9]{1,4}' 'a number'
  may PRIVATE_SERVICES_RANGE '(1[6-9]|2[0-4])' 'a number from 16 to 24'
  [[ ${DATABASE_PASSWORD-} =~ ^([A-Za-z0-9._~-]{16,100})?$ ]] || fail 'DATABASE_PASSWORD has 16 to 100 letters, digits and . _ ~ -.'
  local needed=$((5 * (TRIGGERERS + SCHEDULERS) + WORKERS_MAX * WORKERS_CONCURRENCY + 10))
  ((MAX_CONNECTIONS >= needed)) || fail "MAX_CONNECTIONS is $MAX_CONNECTIONS; this environment needs $needed."
}

check_intake_settings() {
  must TOPIC '[A-Za-z][A-Za-z0-9._~+%-]{2,200}' 'the name of a topic'
  may LANDING_BUCKET '[a-z0-9][a-z0-9._-]{1,220}[a-z0-9]' 'a bucket, without gs://'
  may LANDING_PREFIX '[^/].*' 'the beginning of an object name'
  may ARCHIVE_BUCKET '[a-z0-9][a-z0-9._-]{1,220}[a-z0-9]' 'a bucket, without gs://'
  must DATAFORM '(true|false)' 'true or false'
  may DATASETS_READ '[A-Za-z0-9_ ]+' 'ids of datasets'
  may DATASETS_WRITTEN '[A-Za-z0-9_ ]+' 'ids of datasets'
  local guid='[0-9A-Fa-f]{8}(-[0-9A-Fa-f]{4}){3}-[0-9A-Fa-f]{12}'
  may POWER_BI_CLIENT_ID "$guid" 'a GUID'
  may POWER_BI_TENANT_ID "$guid" 'a GUID'
  [[ -z $POWER_BI_CLIENT_ID && -z $POWER_BI_TENANT_ID || -n $POWER_BI_CLIENT_ID && -n $POWER_BI_TENANT_ID ]] ||
    fail 'POWER_BI_CLIENT_ID and POWER_BI_TENANT_ID go together.'
  local member option
  for member in $PUBLISHERS $COMMAND_USERS; do
    [[ $member =~ ^(serviceAccount|user|group|principal|principalSet): ]] || fail "$member is no member such as user:ada@example.com."
  done
  for option in $ACCELERATOR_OPTIONS; do
    [[ $option =~ ^(burst_helpers|inbox_retention_days|outage_wait_hours|reconcile_interval|snapshot_dir)=.+$ ]] ||
      fail "ACCELERATOR_OPTIONS has '$option'; take burst_helpers, inbox_retention_days, outage_wait_hours, reconcile_interval or snapshot_dir."
  done
}
