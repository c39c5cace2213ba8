#!/usr/bin/env bash
# Run once by the postgres image when its volume is empty: a role and databases for each server, closed to all others.
set -euo pipefail
psql -v ON_ERROR_STOP=1 -U postgres -v prefect="$PREFECT_DB_PASSWORD" -v mlflow="$MLFLOW_DB_PASSWORD" <<'SQL'
create role prefect login password :'prefect';
create role mlflow login password :'mlflow';
create database prefect owner prefect;
create database mlflow owner mlflow;
create database mlflow_auth owner mlflow;
revoke connect on database prefect, mlflow, mlflow_auth from public;
SQL
