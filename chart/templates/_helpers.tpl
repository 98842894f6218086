{{/* Prefix of all names. 40 characters leave room for the longest suffix within the 63 characters of a label. */}}
{{- define "airflow-edge.fullname" -}}
{{- .Release.Name | trunc 40 | trimSuffix "-" -}}
{{- end -}}

{{/* Selector labels of one component's pods. Call with (dict "root" $ "component" NAME). */}}
{{- define "airflow-edge.selectorLabels" -}}
app.kubernetes.io/name: airflow-edge
app.kubernetes.io/instance: {{ .root.Release.Name }}
app.kubernetes.io/component: {{ .component }}
{{- end -}}

{{/* Labels of every object. Call with (dict "root" $ "component" NAME). */}}
{{- define "airflow-edge.labels" -}}
{{ include "airflow-edge.selectorLabels" . }}
app.kubernetes.io/version: {{ .root.Chart.AppVersion | quote }}
app.kubernetes.io/managed-by: {{ .root.Release.Service }}
helm.sh/chart: {{ printf "%s-%s" .root.Chart.Name .root.Chart.Version }}
{{- end -}}

{{/* Name, namespace and labels. Call with (dict "root" $ "component" NAME), and "name" if it differs from the component. */}}
{{- define "airflow-edge.metadata" -}}
name: {{ include "airflow-edge.fullname" .root }}-{{ .name | default .component }}
namespace: {{ .root.Release.Namespace }}
labels:
  {{- include "airflow-edge.labels" . | nindent 2 }}
{{- end -}}

{{/* Reference of an image. Call with (dict "root" $ "image" IMAGE). */}}
{{- define "airflow-edge.image" -}}
{{- $registry := .root.Values.image.registry | trimSuffix "/" -}}
{{- $tag := .image.tag | default .root.Values.image.tag | default .root.Chart.AppVersion -}}
{{- if $registry }}{{ $registry }}/{{ end }}{{ .image.repository }}:{{ $tag }}
{{- end -}}

{{/*
Fields of every container. The last log lines of a container that fails become its termination message.
Call with (dict "root" $ "image" IMAGE).
*/}}
{{- define "airflow-edge.containerBasics" -}}
image: {{ include "airflow-edge.image" . }}
imagePullPolicy: {{ .image.pullPolicy | default .root.Values.image.pullPolicy }}
terminationMessagePolicy: FallbackToLogsOnError
{{- end -}}

{{- define "airflow-edge.pullSecrets" -}}
{{- with .Values.image.pullSecrets }}
imagePullSecrets:
  {{- range . }}
  - name: {{ . }}
  {{- end }}
{{- end }}
{{- end -}}

{{/* Security context of every container: the "restricted" Pod Security Standard and a read-only root file system. */}}
{{- define "airflow-edge.containerSecurity" -}}
securityContext:
  allowPrivilegeEscalation: false
  readOnlyRootFilesystem: true
  capabilities:
    drop: [ALL]
{{- end -}}

{{/* Security context of every pod. Call with the numeric ID of user and group. */}}
{{- define "airflow-edge.podSecurity" -}}
securityContext:
  runAsNonRoot: true
  runAsUser: {{ . }}
  runAsGroup: {{ . }}
  fsGroup: {{ . }}
  fsGroupChangePolicy: OnRootMismatch
  seccompProfile:
    type: RuntimeDefault
{{- end -}}

{{/* Scheduling fields of a pod. Call with (dict "root" $ "component" NAME "pod" POD). */}}
{{- define "airflow-edge.scheduling" -}}
{{- with .pod.nodeSelector }}
nodeSelector:
  {{- toYaml . | nindent 2 }}
{{- end }}
{{- with .pod.tolerations }}
tolerations:
  {{- toYaml . | nindent 2 }}
{{- end }}
{{- with .pod.affinity }}
affinity:
  {{- toYaml . | nindent 2 }}
{{- end }}
{{- with .pod.priorityClassName }}
priorityClassName: {{ . }}
{{- end }}
{{- with .pod.topologySpreadConstraints }}
topologySpreadConstraints:
  {{- range . }}
  - {{- toYaml . | nindent 4 }}
    labelSelector:
      matchLabels:
        {{- include "airflow-edge.selectorLabels" $ | nindent 8 }}
  {{- end }}
{{- end }}
{{- end -}}

{{/* `metadata` of a pod template. Call like airflow-edge.scheduling, plus "checksums" (a dict of names and texts). */}}
{{- define "airflow-edge.podMetadata" -}}
labels:
  {{- include "airflow-edge.selectorLabels" . | nindent 2 }}
  {{- with .pod.labels }}
  {{- toYaml . | nindent 2 }}
  {{- end }}
{{- if or .checksums .pod.annotations }}
annotations:
  {{- range $name, $text := .checksums }}
  checksum/{{ $name }}: {{ $text | sha256sum }}
  {{- end }}
  {{- with .pod.annotations }}
  {{- toYaml . | nindent 2 }}
  {{- end }}
{{- end }}
{{- end -}}

{{/* An environment variable from a Secret. Call with (dict "name" NAME "ref" (dict "name" SECRET "key" KEY)). */}}
{{- define "airflow-edge.secretEnv" -}}
- name: {{ .name }}
  valueFrom:
    secretKeyRef:
      name: {{ .ref.name }}
      key: {{ .ref.key }}
{{- end -}}

{{/* A value as the text of an environment variable. Large numbers are not written as 4.1e+06. */}}
{{- define "airflow-edge.text" -}}
{{- if kindIs "string" . }}{{ . }}{{ else }}{{ toJson . }}{{ end -}}
{{- end -}}
