# shellcheck shell=bash
# The steps of setup.sh, in its order. Each may be run again.

# Names that follow from the settings.
know_names() {
  PROJECT_NUMBER=$(g projects describe "$PROJECT_ID" --format 'value(projectNumber)')
  local domain="$PROJECT_ID.iam.gserviceaccount.com"
  ENVIRONMENT_ACCOUNT=${ENVIRONMENT_SERVICE_ACCOUNT:-accelerator-environment@$domain}
  ENVIRONMENT_MEMBER=serviceAccount:$ENVIRONMENT_ACCOUNT
  READER=accelerator-reader@$domain
  COMMANDS=accelerator-commands@$domain
  SUBSCRIPTION=$TOPIC-accelerator
  DEAD_TOPIC=$TOPIC-dead
  URL_SECRET=airflow-config-accelerator-url
  # Pub/Sub's own account moves the dead letters; Dataform's runs the SQL of an invocation.
  PUBSUB_MEMBER=serviceAccount:service-$PROJECT_NUMBER@gcp-sa-pubsub.iam.gserviceaccount.com
  DATAFORM_MEMBER=serviceAccount:service-$PROJECT_NUMBER@gcp-sa-dataform.iam.gserviceaccount.com
}

# know_password STEP…: the database's is the stored one, where one is stored. A new one has a step of its own: every process of the
# environment knows the old one, until it is started anew.
know_password() {
  STORED_URL=$(g secrets versions access latest --secret "$URL_SECRET" 2>/dev/null || true)
  local stored=${STORED_URL#*://accelerator:}
  stored=${stored%%@*}
  DATABASE_PASSWORD=${DATABASE_PASSWORD:-$stored}
  [[ -n $DATABASE_PASSWORD ]] || fail "DATABASE_PASSWORD is not set: export DATABASE_PASSWORD=\$(openssl rand -hex 24)."
  [[ -z $stored || $stored == "$DATABASE_PASSWORD" || $* == password ]] ||
    fail "DATABASE_PASSWORD is another than the stored one. Unset it, or change the database's by ./setup.sh password."
}

step_services() {
  local -a services=(composer sqladmin secretmanager pubsub iamcredentials servicenetworking)
  if [[ $DATAFORM == true ]]; then services+=(dataform); fi
  g services enable "${services[@]/%/.googleapis.com}"
}

account() { unless_there g iam service-accounts describe "$1" -- g iam service-accounts create "${1%%@*}" --display-name "$2"; }

step_accounts() {
  if [[ -z $ENVIRONMENT_SERVICE_ACCOUNT ]]; then
    account "$ENVIRONMENT_ACCOUNT" "Composer environment $ENVIRONMENT_NAME"
    grant_project "$ENVIRONMENT_MEMBER" roles/composer.worker
  fi
  account "$READER" "Reads Airflow's REST API for the reconciler"
  grant_project "serviceAccount:$READER" roles/composer.user
  g iam service-accounts add-iam-policy-binding "$READER" --member "$ENVIRONMENT_MEMBER" \
    --role roles/iam.serviceAccountTokenCreator
  account "$COMMANDS" 'Runs accelerator commands'
  grant_project "serviceAccount:$COMMANDS" roles/cloudsql.client
  local member
  for member in $COMMAND_USERS; do
    g iam service-accounts add-iam-policy-binding "$COMMANDS" --member "$member" --role roles/iam.serviceAccountTokenCreator
  done
}

step_database() {
  if [[ -n $PRIVATE_SERVICES_RANGE ]]; then
    local range=$DATABASE_INSTANCE-private-services
    unless_there g compute addresses describe "$range" --global -- g compute addresses create "$range" --global \
      --purpose VPC_PEERING --prefix-length "$PRIVATE_SERVICES_RANGE" --network "$NETWORK"
    g services vpc-peerings connect --service servicenetworking.googleapis.com --ranges "$range" --network "${NETWORK##*/}"
  fi
  local availability=ZONAL protection=--no-deletion-protection
  if [[ $DATABASE_HIGHLY_AVAILABLE == true ]]; then availability=REGIONAL; fi
  if [[ $DATABASE_DELETION_PROTECTION == true ]]; then protection=--deletion-protection; fi
  unless_there g sql instances describe "$DATABASE_INSTANCE" -- g sql instances create "$DATABASE_INSTANCE" \
    --region "$REGION" --database-version "$DATABASE_VERSION" --edition ENTERPRISE --tier "$DATABASE_TIER" \
    --availability-type "$availability" --no-assign-ip --network "$NETWORK" --ssl-mode ENCRYPTED_ONLY \
    --backup --enable-point-in-time-recovery --database-flags "max_connections=$MAX_CONNECTIONS" "$protection"
  unless_there g sql databases describe accelerator --instance "$DATABASE_INSTANCE" -- \
    g sql databases create accelerator --instance "$DATABASE_INSTANCE"
  if ! g sql users describe accelerator --instance "$DATABASE_INSTANCE" >/dev/null 2>&1; then
    user create
  elif [[ -z $STORED_URL ]]; then
    user set-password
  fi
}

# By a file, not by an argument: others on this machine see those.
user() {
  g sql users "$1" accelerator --instance "$DATABASE_INSTANCE" --flags-file <(printf -- '--password: "%s"\n' "$DATABASE_PASSWORD")
}

# Not among the steps that are run by themselves.
step_password() {
  user set-password
  step_secrets
  say "The environment's processes know the old password until they are started anew: change any of its settings."
}

topic() { unless_there g pubsub topics describe "$1" -- g pubsub topics create "$1"; }

step_intake() {
  topic "$TOPIC"
  topic "$DEAD_TOPIC"
  unless_there g pubsub subscriptions describe "$DEAD_TOPIC-kept" -- g pubsub subscriptions create "$DEAD_TOPIC-kept" \
    --topic "$DEAD_TOPIC" --message-retention-duration 7d --expiration-period never
  unless_there g pubsub subscriptions describe "$SUBSCRIPTION" -- g pubsub subscriptions create "$SUBSCRIPTION" \
    --topic "$TOPIC" --ack-deadline 60 --message-retention-duration 7d --expiration-period never \
    --dead-letter-topic "$DEAD_TOPIC" --max-delivery-attempts 50
  g pubsub topics add-iam-policy-binding "$DEAD_TOPIC" --member "$PUBSUB_MEMBER" --role roles/pubsub.publisher
  local member
  for member in "$PUBSUB_MEMBER" "$ENVIRONMENT_MEMBER"; do
    g pubsub subscriptions add-iam-policy-binding "$SUBSCRIPTION" --member "$member" --role roles/pubsub.subscriber
  done
  for member in $PUBLISHERS; do
    g pubsub topics add-iam-policy-binding "$TOPIC" --member "$member" --role roles/pubsub.publisher
  done
  if [[ -n $LANDING_BUCKET ]]; then files; fi
}

# Cloud Storage's own account publishes what is new in the landing bucket. A second notification would tell of each file twice.
files() {
  local storage name="projects/$PROJECT_ID/topics/$TOPIC"
  storage=$(g storage service-agent)
  g pubsub topics add-iam-policy-binding "$TOPIC" --member "serviceAccount:$storage" --role roles/pubsub.publisher
  if g storage buckets notifications list "gs://$LANDING_BUCKET" --format 'value(topic)' | grep -qF "/$name"; then
    say "there already: the notification of gs://$LANDING_BUCKET"
  else
    g storage buckets notifications create "gs://$LANDING_BUCKET" --topic "$name" --payload-format json \
      --event-types OBJECT_FINALIZE --skip-topic-setup ${LANDING_PREFIX:+--object-prefix "$LANDING_PREFIX"}
  fi
}

# dataset ROLE DATASET: for the environment, and for Dataform, which runs its SQL as itself.
dataset() {
  local -a members=("'$ENVIRONMENT_MEMBER'")
  if [[ $DATAFORM == true ]]; then members+=("'$DATAFORM_MEMBER'"); fi
  local list
  list=$(IFS=,; printf %s "${members[*]}")
  bq --project_id "$PROJECT_ID" query --use_legacy_sql=false "GRANT \`$1\` ON SCHEMA \`$PROJECT_ID.$2\` TO $list"
}

step_work() {
  if [[ $DATAFORM == true ]]; then grant_project "$ENVIRONMENT_MEMBER" roles/dataform.editor; fi
  if [[ -n $DATASETS_READ$DATASETS_WRITTEN ]]; then
    grant_project "$ENVIRONMENT_MEMBER" roles/bigquery.jobUser
    if [[ $DATAFORM == true ]]; then grant_project "$DATAFORM_MEMBER" roles/bigquery.jobUser; fi
  fi
  local name
  for name in $DATASETS_READ; do dataset roles/bigquery.dataViewer "$name"; done
  for name in $DATASETS_WRITTEN; do dataset roles/bigquery.dataEditor "$name"; done
  if [[ -n $ARCHIVE_BUCKET ]]; then
    # An archive task copies the object, then deletes it where it was.
    for name in $LANDING_BUCKET $ARCHIVE_BUCKET; do bucket roles/storage.objectAdmin "$name"; done
  elif [[ -n $LANDING_BUCKET ]]; then
    bucket roles/storage.objectViewer "$LANDING_BUCKET"
  fi
}

bucket() { g storage buckets add-iam-policy-binding "gs://$2" --member "$ENVIRONMENT_MEMBER" --role "$1"; }

# secret NAME VALUE: a first version where there is none, or a new one where the value is another.
secret() {
  unless_there g secrets describe "$1" -- g secrets create "$1" --replication-policy automatic
  if [[ $(g secrets versions access latest --secret "$1" 2>/dev/null) != "$2" ]]; then
    printf %s "$2" | g secrets versions add "$1" --data-file -
  fi
  g secrets add-iam-policy-binding "$1" --member "$ENVIRONMENT_MEMBER" --role roles/secretmanager.secretAccessor
}

step_secrets() {
  local address
  address=$(g sql instances describe "$DATABASE_INSTANCE" --format 'value(ipAddresses[0].ipAddress)')
  [[ -n $address ]] || fail "the instance $DATABASE_INSTANCE has no address yet; wait for it, then run ./setup.sh secrets environment."
  secret "$URL_SECRET" "postgresql://accelerator:$DATABASE_PASSWORD@$address/accelerator?sslmode=require"
  g secrets add-iam-policy-binding "$URL_SECRET" --member "serviceAccount:$COMMANDS" \
    --role roles/secretmanager.secretAccessor
  secret airflow-connections-accelerator_reader \
    "{\"conn_type\":\"google_cloud_platform\",\"extra\":{\"impersonation_chain\":\"$READER\"}}"
  if [[ -n $POWER_BI_CLIENT_ID ]]; then
    secret airflow-connections-powerbi_default "{\"conn_type\":\"powerbi\",\"login\":\"$POWER_BI_CLIENT_ID\",\"extra\":{\"tenant_id\":\"$POWER_BI_TENANT_ID\",\"auth\":\"google_federation\"}}"
  fi
}

# Composer takes no AIRFLOW__… variables: everything is a configuration override, SECTION-OPTION.
know_overrides() {
  OVERRIDES=(
    secrets-backend=airflow.providers.google.cloud.secrets.secret_manager.CloudSecretManagerBackend
    "secrets-backend_kwargs={\"project_id\":\"$PROJECT_ID\"}"
    accelerator-sql_alchemy_conn_secret=accelerator-url
    "accelerator-airflow_conn_id=airflow_api"
    "accelerator-pubsub_subscriptions=projects/$PROJECT_ID/subscriptions/$SUBSCRIPTION"
    "celery-worker_concurrency=$WORKERS_CONCURRENCY"
    # Three heartbeats of Composer's 30 s: with fewer, triggerers take each other's triggers over.
    triggerer-triggerer_health_check_threshold=90
  )
  if [[ -n $AIRFLOW_REGISTRATION_ROLE ]]; then
    OVERRIDES+=("api-composer_auth_user_registration_role=$AIRFLOW_REGISTRATION_ROLE")
  fi
  local option
  for option in $ACCELERATOR_OPTIONS; do OVERRIDES+=("accelerator-$option"); done
  # ^~^ makes ~ what separates: a value may have commas.
  local IFS='~'
  OVERRIDES_FLAG="^~^${OVERRIDES[*]}"
}

environment() { g composer environments "$1" "$ENVIRONMENT_NAME" --location "$REGION" "${@:2}"; }

# has FIELD PAIR…: whether the environment's software has all of these; a change for nothing would take minutes.
has() {
  local there pair
  there=";$(environment describe --format "value(config.softwareConfig.$1)");"
  for pair in "${@:2}"; do
    [[ $there == *";$pair;"* ]] || return 1
  done
  say "there already: $1"
}

step_environment() {
  know_overrides
  if [[ $MANAGE_ENVIRONMENT == true ]]; then
    unless_there environment describe -- environment create --image-version "$IMAGE_VERSION" \
      --environment-size small --service-account "$ENVIRONMENT_ACCOUNT" --network "$NETWORK" --subnetwork "$SUBNETWORK" \
      --min-workers "$WORKERS_MIN" --max-workers "$WORKERS_MAX" --triggerer-count "$TRIGGERERS" \
      --triggerer-cpu 1 --triggerer-memory 2GB --scheduler-count "$SCHEDULERS" --airflow-configs "$OVERRIDES_FLAG"
  fi
  # One kind of change at a time, which is what Composer takes.
  has airflowConfigOverrides "${OVERRIDES[@]}" || environment update --update-airflow-configs "$OVERRIDES_FLAG"
  has pypiPackages "$PACKAGE_NAME=$PACKAGE_VERSION" || environment update --update-pypi-package "$PACKAGE_NAME$PACKAGE_VERSION"
  local uri
  uri=$(environment describe --format 'value(config.airflowUri)')
  secret airflow-connections-airflow_api \
    "{\"conn_type\":\"airflow_api\",\"host\":\"$uri\",\"extra\":{\"gcp_conn_id\":\"accelerator_reader\"}}"
}

next_commands() {
  local bucket id subject uri post
  bucket=$(environment describe --format 'value(config.dagGcsPrefix)')
  bucket=${bucket%/dags}
  uri=$(environment describe --format 'value(config.airflowUri)')
  id=$(g iam service-accounts describe "$READER" --format 'value(uniqueId)')
  subject=$(g iam service-accounts describe "$ENVIRONMENT_ACCOUNT" --format 'value(uniqueId)')
  # Airflow's REST API, as who runs the command: needs roles/composer.user and a role in Airflow.
  post="curl --fail-with-body -X POST -H \"Authorization: Bearer \$(gcloud auth print-access-token)\" -H 'Content-Type: application/json'"
  local maintenance="$post $uri/api/v2/dags/accelerator_maintenance/dagRuns"
  cat <<END
accelerator init dags-for-composer && gcloud storage cp 'dags-for-composer/*.py' $bucket/dags/
$maintenance -d '{"logical_date": null}'
gcloud storage cp workflows.yaml $bucket/data/accelerator/import/ && $maintenance -d '{"logical_date": null, "conf": {"action": "import", "file": "$bucket/data/accelerator/import/workflows.yaml"}}'
$post $uri/auth/fab/v1/roles -d '{"actions":[{"action":{"name":"can_read"},"resource":{"name":"Audit Logs"}}],"name":"AuditLogReader"}' && $post $uri/auth/fab/v1/users -d '{"email":"$READER","first_name":"accelerator","last_name":"reader","password":"'"\$(openssl rand -hex 24)"'","roles":[{"name":"Viewer"},{"name":"AuditLogReader"}],"username":"accounts.google.com:$id"}'
END
  if [[ -n $POWER_BI_CLIENT_ID ]]; then
    cat <<END
az ad app federated-credential create --id $POWER_BI_CLIENT_ID --parameters '{"name":"composer-$ENVIRONMENT_NAME","issuer":"https://accounts.google.com","subject":"$subject","audiences":["api://AzureADTokenExchange"]}'
END
  fi
  cat <<END
gcloud pubsub topics publish $TOPIC --project $PROJECT_ID --message '{"task_id": "TASK", "batch_id": "Batch_20240316_001"}'
END
}
