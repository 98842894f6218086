{{/* Base URL of the edge API, for the operator and worker pods. */}}
{{- define "airflow-edge.apiBaseUrl" -}}
{{- .Values.controlPlane.url | default (printf "http://%s-edge-api.%s.svc:8800" (include "airflow-edge.fullname" .) .Release.Namespace) -}}
{{- end -}}

{{/* Namespaces that the operator watches, as a JSON list. Empty for the whole cluster. */}}
{{- define "airflow-edge.operatorNamespaces" -}}
{{- if .Values.operator.clusterWide -}}
[]
{{- else -}}
{{- .Values.operator.namespaces | default (list .Release.Namespace) | uniq | toJson -}}
{{- end -}}
{{- end -}}

{{/* Settings of the operator, without secrets. */}}
{{- define "airflow-edge.operatorSettings" -}}
EDGE_OPERATOR_API_URL: {{ include "airflow-edge.apiBaseUrl" . | quote }}
EDGE_OPERATOR_ADMIN_TOKEN_FILE: /run/edge-operator/{{ (include "airflow-edge.operatorCredential" . | fromYaml).key }}
EDGE_OPERATOR_WORKER_IMAGE: {{ include "airflow-edge.image" (dict "root" . "image" .Values.worker.image) | quote }}
EDGE_OPERATOR_NAMESPACES: {{ include "airflow-edge.operatorNamespaces" . | fromJsonArray | join "," | quote }}
{{- if .Values.controlPlane.caSecret }}
EDGE_OPERATOR_CA_BUNDLE: /run/edge-operator-trust/ca.crt
{{- end }}
{{- with .Values.operator.namespaceBounds }}
EDGE_OPERATOR_NAMESPACE_BOUNDS: {{ toJson . | quote }}
{{- end }}
{{- with .Values.operator.externalNamespace }}
EDGE_OPERATOR_EXTERNAL_NAMESPACE: {{ . | quote }}
{{- end }}
EDGE_OPERATOR_LEASE_NAMESPACE: {{ .Release.Namespace | quote }}
EDGE_OPERATOR_LEASE_NAME: {{ include "airflow-edge.fullname" . }}-operator
{{- range $name, $value := .Values.operator.settings }}
EDGE_OPERATOR_{{ $name | upper }}: {{ include "airflow-edge.text" $value | quote }}
{{- end }}
{{- end -}}
