{{/* URL of the Ingress, without a trailing slash. */}}
{{- define "airflow-edge.ingressUrl" -}}
{{ ternary "https" "http" (not (empty .Values.ingress.tlsSecret)) }}://{{ .Values.ingress.host }}
{{- end -}}

{{/* URL of Airflow's Execution API, to which the edge API forwards the calls of tasks. */}}
{{- define "airflow-edge.executionApiUrl" -}}
{{- if .Values.edgeApi.executionApiUrl -}}
{{- .Values.edgeApi.executionApiUrl -}}
{{- else if .Values.airflow.enabled -}}
http://{{ include "airflow-edge.fullname" . }}-api-server.{{ .Release.Namespace }}.svc:8080/execution/
{{- end -}}
{{- end -}}

{{/* Settings of the edge API, without secrets. */}}
{{- define "airflow-edge.edgeApiSettings" -}}
EDGE_API_HOST: 0.0.0.0
EDGE_API_PORT: "8800"
EDGE_API_SITE_PORT: "8801"
EDGE_API_EXECUTION_API_URL: {{ include "airflow-edge.executionApiUrl" . | quote }}
{{- if .Values.ingress.enabled }}
EDGE_API_FORWARDED_ALLOW_IPS: {{ .Values.ingress.trustedProxies | join "," | quote }}
{{- end }}
{{- range $name, $value := .Values.edgeApi.settings }}
EDGE_API_{{ $name | upper }}: {{ include "airflow-edge.text" $value | quote }}
{{- end }}
{{- end -}}

{{/* Secret and key of the JWT secret that edge3 workers (v1) share with Airflow. */}}
{{- define "airflow-edge.v1Secret" -}}
{{- if .Values.edgeApi.v1.existingSecret -}}
name: {{ .Values.edgeApi.v1.existingSecret }}
key: {{ .Values.edgeApi.v1.existingSecretKey }}
{{- else -}}
name: {{ include "airflow-edge.airflowSecret" . }}
key: jwt-secret
{{- end -}}
{{- end -}}
