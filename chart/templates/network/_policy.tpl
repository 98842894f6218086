{{/* A NetworkPolicy for one component. Call with (dict "root" $ "component" NAME "rules" (list of ingress rules)). */}}
{{- define "airflow-edge.networkPolicy" -}}
apiVersion: networking.k8s.io/v1
kind: NetworkPolicy
metadata:
  {{- include "airflow-edge.metadata" . | nindent 2 }}
spec:
  podSelector:
    matchLabels:
      {{- include "airflow-edge.selectorLabels" . | nindent 6 }}
  policyTypes: {{ .types | default (list "Ingress") | toJson }}
  ingress:
    {{- .rules | default list | toYaml | nindent 4 }}
{{- end -}}

{{/* A peer that selects this release's pods of the given components. Call with (dict "root" $ "components" NAMES). */}}
{{- define "airflow-edge.releasePods" -}}
podSelector:
  matchLabels:
    app.kubernetes.io/name: airflow-edge
    app.kubernetes.io/instance: {{ .root.Release.Name }}
  matchExpressions:
    - key: app.kubernetes.io/component
      operator: In
      values: {{ .components | toJson }}
{{- end -}}

{{/* An ingress rule. Call with (dict "port" NUMBER "from" PEERS). Without peers everyone may connect. */}}
{{- define "airflow-edge.ingressRule" -}}
ports:
  - port: {{ .port }}
    protocol: TCP
{{- with .from }}
from:
  {{- toYaml . | nindent 2 }}
{{- end }}
{{- end -}}

{{/* Peers that call the edge API: worker pods, and those that call Airflow's api-server, too. */}}
{{- define "airflow-edge.callers" -}}
{{- if .Values.networkPolicy.clients -}}
- podSelector:
    matchLabels:
      app.kubernetes.io/managed-by: airflow-edge-operator
  namespaceSelector: {}
{{ include "airflow-edge.clients" . }}
{{- end -}}
{{- end -}}

{{/* Peers that call Airflow's api-server: this release's pods, networkPolicy.clients. Workers do not need it. */}}
{{- define "airflow-edge.clients" -}}
{{- if .Values.networkPolicy.clients -}}
- podSelector:
    matchLabels:
      app.kubernetes.io/name: airflow-edge
      app.kubernetes.io/instance: {{ .Release.Name }}
{{ toYaml .Values.networkPolicy.clients }}
{{- end -}}
{{- end -}}
