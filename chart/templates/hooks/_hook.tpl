{{/* Annotations of a hook. Call with (dict "events" EVENTS "weight" NUMBER). */}}
{{- define "airflow-edge.hookAnnotations" -}}
helm.sh/hook: {{ .events }}
helm.sh/hook-weight: {{ .weight | quote }}
helm.sh/hook-delete-policy: before-hook-creation,hook-succeeded
{{- end -}}

{{/*
The ServiceAccount of a hook with its RBAC rules in each namespace; the namespace "" stands for the whole cluster.
Call with (dict "root" $ "name" NAME "events" EVENTS "rules" RULES "namespaces" NAMESPACES).
*/}}
{{- define "airflow-edge.hookRbac" -}}
{{- $root := .root -}}
{{- $account := printf "%s-%s" (include "airflow-edge.fullname" $root) .name -}}
{{- $about := dict "root" $root "component" .name -}}
{{- $annotations := include "airflow-edge.hookAnnotations" (dict "events" .events "weight" -5) -}}
{{- $rules := .rules -}}
apiVersion: v1
kind: ServiceAccount
metadata:
  {{- include "airflow-edge.metadata" $about | nindent 2 }}
  annotations:
    {{- $annotations | nindent 4 }}
automountServiceAccountToken: false
{{- range $namespace := .namespaces }}
{{- $kind := ternary "Role" "ClusterRole" (not (empty $namespace)) }}
{{- range list $kind (printf "%sBinding" $kind) }}
---
apiVersion: rbac.authorization.k8s.io/v1
kind: {{ . }}
metadata:
  name: {{ $root.Release.Namespace }}-{{ $account }}
  {{- with $namespace }}
  namespace: {{ . }}
  {{- end }}
  labels:
    {{- include "airflow-edge.labels" $about | nindent 4 }}
  annotations:
    {{- $annotations | nindent 4 }}
{{- if hasSuffix "Binding" . }}
roleRef:
  apiGroup: rbac.authorization.k8s.io
  kind: {{ $kind }}
  name: {{ $root.Release.Namespace }}-{{ $account }}
subjects:
  - kind: ServiceAccount
    name: {{ $account }}
    namespace: {{ $root.Release.Namespace }}
{{- else }}
rules:
  {{- $rules | nindent 2 }}
{{- end }}
{{- end }}
{{- end }}
{{- end -}}

{{/*
The Job of a hook. It runs a command of the operator's image.
Call with (dict "root" $ "account" NAME "name" NAME "events" EVENTS "command" COMMAND). Optional: "crds" (the ConfigMap
to mount) and "deadline" (in seconds).
*/}}
{{- define "airflow-edge.hookJob" -}}
{{- $root := .root -}}
{{- $about := dict "root" $root "component" .account "name" .name "pod" $root.Values.operator.pod "checksums" dict -}}
apiVersion: batch/v1
kind: Job
metadata:
  {{- include "airflow-edge.metadata" $about | nindent 2 }}
  annotations:
    {{- include "airflow-edge.hookAnnotations" (dict "events" .events "weight" 0) | nindent 4 }}
spec:
  backoffLimit: 0
  {{- with .deadline }}
  activeDeadlineSeconds: {{ . }}
  {{- end }}
  template:
    metadata:
      {{- include "airflow-edge.podMetadata" $about | nindent 6 }}
    spec:
      restartPolicy: Never
      serviceAccountName: {{ include "airflow-edge.fullname" $root }}-{{ .account }}
      automountServiceAccountToken: true
      enableServiceLinks: false
      {{- include "airflow-edge.podSecurity" 50000 | nindent 6 }}
      {{- include "airflow-edge.pullSecrets" $root | nindent 6 }}
      {{- include "airflow-edge.scheduling" $about | nindent 6 }}
      containers:
        - name: {{ .name }}
          {{- include "airflow-edge.containerBasics" (dict "root" $root "image" $root.Values.operator.image) | nindent 10 }}
          args: {{ .command | toJson }}
          env:
            - name: EDGE_OPERATOR_NAMESPACES
              value: {{ include "airflow-edge.operatorNamespaces" $root | fromJsonArray | join "," | quote }}
          {{- include "airflow-edge.containerSecurity" $root | nindent 10 }}
          volumeMounts:
            - name: tmp
              mountPath: /tmp
            {{- if .crds }}
            - name: crds
              mountPath: /crds
              readOnly: true
            {{- end }}
      volumes:
        - name: tmp
          emptyDir: {}
        {{- with .crds }}
        - name: crds
          configMap:
            name: {{ . }}
        {{- end }}
{{- end -}}
