{{/* The Execution API as workers reach it. */}}
{{- define "airflow-edge.executionApiUrl" -}}
{{- if .Values.edgeApi.executionApiUrl -}}
{{- .Values.edgeApi.executionApiUrl -}}
{{- else if .Values.airflow.enabled -}}
http://{{ include "airflow-edge.fullname" . }}-api-server.{{ .Release.Namespace }}.svc:8080/execution/
{{- end -}}
{{- end -}}

{{/* Settings of the edge API that are no secrets. */}}
{{- define "airflow-edge.edgeApiSettings" -}}
EDGE_API_HOST: 0.0.0.0
EDGE_API_PORT: "8800"
EDGE_API_EXECUTION_API_URL: {{ include "airflow-edge.executionApiUrl" . | quote }}
{{- range $name, $value := .Values.edgeApi.settings }}
EDGE_API_{{ $name | upper }}: {{ $value | toString | quote }}
{{- end }}
{{- end -}}

{{/* What restarts the pods when it changes. */}}
{{- define "airflow-edge.edgeApiChecksums" -}}
config: {{ include "airflow-edge.edgeApiSettings" . | quote }}
{{- if .Values.postgresql.enabled }}
database: {{ include (print .Template.BasePath "/postgresql/secret.yaml") . | quote }}
{{- end }}
{{- end -}}
