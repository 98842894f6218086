{{/* A NetworkPolicy on one component. Call with (dict "root" $ "component" NAME "rules" (list of ingress rules)). */}}
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

{{/* Pods of this release, of the given components, as a peer. Call with (dict "root" $ "components" NAMES). */}}
{{- define "airflow-edge.ownPods" -}}
podSelector:
  matchLabels:
    app.kubernetes.io/name: airflow-edge
    app.kubernetes.io/instance: {{ .root.Release.Name }}
  matchExpressions:
    - key: app.kubernetes.io/component
      operator: In
      values: {{ .components | toJson }}
{{- end -}}

{{/* One ingress rule. Call with (dict "port" NUMBER "from" PEERS); no peers: from everywhere. */}}
{{- define "airflow-edge.ingressRule" -}}
ports:
  - port: {{ .port }}
    protocol: TCP
{{- with .from }}
from:
  {{- toYaml . | nindent 2 }}
{{- end }}
{{- end -}}

{{/* Who calls the edge API and Airflow's api-server: pods of workers, of this release, and networkPolicy.clients. */}}
{{- define "airflow-edge.callers" -}}
{{- if .Values.networkPolicy.clients -}}
- podSelector:
    matchLabels:
      app.kubernetes.io/managed-by: airflow-edge-operator
  namespaceSelector: {}
- podSelector:
    matchLabels:
      app.kubernetes.io/name: airflow-edge
      app.kubernetes.io/instance: {{ .Release.Name }}
{{ toYaml .Values.networkPolicy.clients }}
{{- end -}}
{{- end -}}
