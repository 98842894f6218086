{{/* The Job's pod template. Call like airflow-edge.podMetadata, plus "owner" and "role" (Secrets and keys of the URLs). */}}
{{- define "airflow-edge.migrationTemplate" -}}
metadata:
  {{- include "airflow-edge.podMetadata" . | nindent 2 }}
spec:
  {{- include "airflow-edge.scheduling" . | nindent 2 }}
  {{- include "airflow-edge.migrationPod" . | nindent 2 }}
{{- end -}}

{{/*
Prepares the database in idempotent steps. The role comes last: the edge API waits for it, and by then the operator's
credential must exist.
*/}}
{{- define "airflow-edge.migrationPod" -}}
{{- $edgeApi := include "airflow-edge.containerBasics" (dict "root" .root "image" .root.Values.edgeApi.image) -}}
{{- $ownerEnv := include "airflow-edge.secretEnv" (dict "name" "EDGE_API_DATABASE_URL" "ref" .owner) -}}
{{- $steps := list -}}
{{- if not .root.Values.airflow.enabled -}}
{{- $steps = append $steps (dict "name" "schema" "command" (list "edge-api" "db" "upgrade")) -}}
{{- end -}}
{{- if .root.Values.operator.enabled -}}
{{- $steps = append $steps (dict "name" "operator-credential" "command" (list "edge-api" "credential" "ensure" "--role" "admin" "--label" "operator" "--expires" "3650d" "--secret-file" (printf "/run/credential/%s" (include "airflow-edge.operatorCredential" .root | fromYaml).key))) -}}
{{- end -}}
{{- if .role -}}
{{- $steps = append $steps (dict "name" "role" "command" (list "edge-api" "db" "grant-role") "role" .role) -}}
{{- end -}}
{{- if not $steps -}}
{{- $steps = list (dict "name" "check" "command" (list "edge-api" "db" "check")) -}}
{{- end -}}
restartPolicy: OnFailure
automountServiceAccountToken: false
enableServiceLinks: false
{{ include "airflow-edge.podSecurity" 50000 }}
{{ include "airflow-edge.pullSecrets" .root }}
initContainers:
  {{- include "airflow-edge.waitForDatabase" (dict "root" .root "ref" .owner "arguments" (list "--server")) | nindent 2 }}
  {{- if .root.Values.airflow.enabled }}
  - name: airflow-db-migrate
    {{- include "airflow-edge.containerBasics" (dict "root" .root "image" .root.Values.airflow.image) | nindent 4 }}
    args: [airflow, db, migrate]
    {{- include "airflow-edge.airflowEnv" .root | nindent 4 }}
    {{- include "airflow-edge.containerSecurity" . | nindent 4 }}
    volumeMounts:
      - name: tmp
        mountPath: /tmp
      - name: home
        mountPath: /opt/airflow
  {{- end }}
  {{- range initial $steps }}
  {{- include "airflow-edge.migrationStep" (dict "step" . "image" $edgeApi "env" $ownerEnv) | nindent 2 }}
  {{- end }}
containers:
  {{- include "airflow-edge.migrationStep" (dict "step" (last $steps) "image" $edgeApi "env" $ownerEnv) | nindent 2 }}
volumes:
  - name: tmp
    emptyDir: {}
  - name: home
    emptyDir: {}
  {{- if .root.Values.operator.enabled }}
  - name: credential
    secret:
      secretName: {{ (include "airflow-edge.operatorCredential" .root | fromYaml).name }}
      defaultMode: 0440
  {{- end }}
{{- end -}}

{{- define "airflow-edge.migrationStep" -}}
- name: {{ .step.name }}
  {{- .image | nindent 2 }}
  args: {{ .step.command | toJson }}
  env:
    {{- .env | nindent 4 }}
    {{- with .step.role }}
    {{- include "airflow-edge.secretEnv" (dict "name" "EDGE_API_ROLE_URL" "ref" .) | nindent 4 }}
    {{- end }}
  {{- include "airflow-edge.containerSecurity" . | nindent 2 }}
  volumeMounts:
    - name: tmp
      mountPath: /tmp
    {{- if eq .step.name "operator-credential" }}
    - name: credential
      mountPath: /run/credential
      readOnly: true
    {{- end }}
{{- end -}}
