{{/*
Secrets that the hook in hooks/secrets.yaml creates unless they exist, as a JSON list: the parts of their names after the
prefix. No template creates a value, so that two renders are equal.
*/}}
{{- define "airflow-edge.createdSecrets" -}}
{{- $names := list -}}
{{- if and .Values.airflow.enabled (not .Values.airflow.existingSecret) -}}
{{- $names = append $names "airflow" -}}
{{- end -}}
{{- if .Values.postgresql.enabled -}}
{{- $names = concat $names (list "database" "edge-api-database") -}}
{{- end -}}
{{- if and .Values.operator.enabled (not .Values.operator.existingSecret) -}}
{{- $names = append $names "operator-credential" -}}
{{- end -}}
{{- if and .Values.airflow.enabled (not .Values.airflow.apiServer.fleetPage.existingSecret) -}}
{{- $names = append $names "fleet-page-credential" -}}
{{- end -}}
{{- toJson $names -}}
{{- end -}}

{{/* Secret and key with the database owner's URL, which Airflow and migrations use. */}}
{{- define "airflow-edge.ownerUrl" -}}
{{- if .Values.postgresql.enabled -}}
name: {{ include "airflow-edge.fullname" . }}-database
key: url
{{- else -}}
name: {{ .Values.database.existingSecret }}
key: {{ .Values.database.existingSecretKey }}
{{- end -}}
{{- end -}}

{{/* Secret and key with the URL of the edge API's own database role; empty if it uses the owner's URL. */}}
{{- define "airflow-edge.roleUrl" -}}
{{- if .Values.postgresql.enabled -}}
name: {{ include "airflow-edge.fullname" . }}-edge-api-database
key: url
{{- else if .Values.database.apiRole.existingSecret -}}
name: {{ .Values.database.apiRole.existingSecret }}
key: {{ .Values.database.apiRole.existingSecretKey }}
{{- end -}}
{{- end -}}

{{/* Secret and key with the database URL that the edge API uses. */}}
{{- define "airflow-edge.apiUrl" -}}
{{- include "airflow-edge.roleUrl" . | default (include "airflow-edge.ownerUrl" .) -}}
{{- end -}}

{{/* Secret and key with the operator's credential. */}}
{{- define "airflow-edge.operatorCredential" -}}
{{- if .Values.operator.existingSecret -}}
name: {{ .Values.operator.existingSecret }}
key: {{ .Values.operator.existingSecretKey }}
{{- else -}}
name: {{ include "airflow-edge.fullname" . }}-operator-credential
key: token
{{- end -}}
{{- end -}}

{{/* Secret and key with the credential of the fleet page's backend. */}}
{{- define "airflow-edge.fleetPageCredential" -}}
{{- with .Values.airflow.apiServer.fleetPage -}}
name: {{ .existingSecret | default (printf "%s-fleet-page-credential" (include "airflow-edge.fullname" $)) }}
key: {{ ternary .existingSecretKey "token" (not (empty .existingSecret)) }}
{{- end -}}
{{- end -}}

{{/* Whether this release has a database to prepare. Empty in a cluster that only runs workers. */}}
{{- define "airflow-edge.hasDatabase" -}}
{{- if or .Values.edgeApi.enabled .Values.airflow.enabled -}}
true
{{- end -}}
{{- end -}}
