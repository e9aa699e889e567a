# shellcheck shell=bash disable=SC2034
# Copy to settings.sh and say what is yours. The names are those of Terraform's variables, in capitals; what may stay as it is has its
# value here. The database's password is not here: export DATABASE_PASSWORD="$(openssl rand -hex 24)".
PROJECT_ID=my-project
REGION=europe-west3
NETWORK=projects/my-project/global/networks/default
SUBNETWORK=projects/my-project/regions/europe-west3/subnetworks/default

# true makes the environment; false adds to one that is there, whose account is then needed below.
MANAGE_ENVIRONMENT=true
ENVIRONMENT_NAME=accelerator
ENVIRONMENT_SERVICE_ACCOUNT=
IMAGE_VERSION=composer-3-airflow-3.3.1-build.0
PACKAGE_NAME=airflow-provider-cloud-accelerator
PACKAGE_VERSION='[postgres]==0.1.0'
WORKERS_MIN=1
WORKERS_MAX=3
WORKERS_CONCURRENCY=6
TRIGGERERS=1
SCHEDULERS=1
# Role in Airflow of whoever uses its REST API for the first time; empty leaves Composer's own, Op.
AIRFLOW_REGISTRATION_ROLE=
# Further options of [accelerator], such as 'outage_wait_hours=6 burst_helpers=0'.
ACCELERATOR_OPTIONS=

DATABASE_INSTANCE=accelerator
DATABASE_VERSION=POSTGRES_16
DATABASE_TIER=db-custom-1-3840
DATABASE_HIGHLY_AVAILABLE=true
DATABASE_DELETION_PROTECTION=true
# 5 for each triggerer and scheduler, one for each task that may run, and 10.
MAX_CONNECTIONS=100
# Length of the range for Google's services in the network; empty where it has private services access already.
PRIVATE_SERVICES_RANGE=20

TOPIC=task-batches
# Lists are words with blanks between.
PUBLISHERS='serviceAccount:crm@my-project.iam.gserviceaccount.com'
LANDING_BUCKET=
LANDING_PREFIX=
ARCHIVE_BUCKET=
DATAFORM=true
DATASETS_READ=
DATASETS_WRITTEN=
POWER_BI_CLIENT_ID=
POWER_BI_TENANT_ID=
COMMAND_USERS='user:ada@example.com'
