{{/*
A Secret's value that is generated once: the value in the cluster if there is one, otherwise a new one. A new value is
remembered for the rest of this rendering, so that checksums and all templates see the same value.
Call with (dict "root" $ "secret" NAME "key" KEY "new" VALUE).
*/}}
{{- define "airflow-edge.generatedValue" -}}
{{- $values := .root.Values -}}
{{- if not (hasKey $values "generated") -}}
{{- $_ := set $values "generated" dict -}}
{{- end -}}
{{- $place := printf "%s/%s" .secret .key -}}
{{- if not (hasKey $values.generated $place) -}}
{{- $found := lookup "v1" "Secret" .root.Release.Namespace .secret -}}
{{- $old := dig "data" .key "" (default dict $found) | b64dec -}}
{{- $_ := set $values.generated $place ($old | default .new) -}}
{{- end -}}
{{- index $values.generated $place -}}
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

{{/* Whether this release has a database to prepare. Empty in a cluster that only runs workers. */}}
{{- define "airflow-edge.hasDatabase" -}}
{{- if or .Values.edgeApi.enabled .Values.airflow.enabled -}}
true
{{- end -}}
{{- end -}}
