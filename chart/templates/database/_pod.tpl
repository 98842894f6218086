{{/* The Job's pod template. Call like airflow-edge.podMetadata, plus "owner" and "role" (Secrets and keys of the URLs). */}}
{{- define "airflow-edge.migrationTemplate" -}}
metadata:
  {{- include "airflow-edge.podMetadata" . | nindent 2 }}
spec:
  {{- include "airflow-edge.scheduling" . | nindent 2 }}
  {{- include "airflow-edge.migrationPod" . | nindent 2 }}
{{- end -}}

{{/*
Prepares the database in idempotent steps. The role comes last: the edge API waits for it, and by then the credentials
must exist.
*/}}
{{- define "airflow-edge.migrationPod" -}}
{{- $edgeApi := include "airflow-edge.containerBasics" (dict "root" .root "image" .root.Values.edgeApi.image) -}}
{{- $ownerEnv := include "airflow-edge.secretEnv" (dict "name" "EDGE_API_DATABASE_URL" "ref" .owner) -}}
{{- $steps := list -}}
{{- if not .root.Values.airflow.enabled -}}
{{- $steps = append $steps (dict "name" "schema" "command" (list "edge-api" "db" "upgrade")) -}}
{{- end -}}
{{- if .root.Values.operator.enabled -}}
{{- $steps = append $steps (include "airflow-edge.credentialStep" (dict "name" "operator-credential" "label" "operator" "more" (include "airflow-edge.allowedNames" .root | fromJsonArray) "ref" (include "airflow-edge.operatorCredential" .root | fromYaml)) | fromYaml) -}}
{{- end -}}
{{- if .root.Values.airflow.enabled -}}
{{- $steps = append $steps (include "airflow-edge.credentialStep" (dict "name" "fleet-page-credential" "label" "fleet page" "more" (list "--on-behalf") "ref" (include "airflow-edge.fleetPageCredential" .root | fromYaml)) | fromYaml) -}}
{{- end -}}
{{- $credentials := list -}}
{{- range $steps -}}
{{- with .credential -}}
{{- $credentials = append $credentials . -}}
{{- end -}}
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
  {{- range $credentials }}
  - name: {{ .volume }}
    secret:
      secretName: {{ .secret }}
      defaultMode: 0440
  {{- end }}
{{- end -}}

{{/* A step that stores the hash of a Secret's credential. Call with "name", "label", "ref" and maybe "more" options. */}}
{{- define "airflow-edge.credentialStep" -}}
{{- $command := list "edge-api" "credential" "ensure" "--role" "admin" "--label" .label "--expires" "3650d" "--secret-file" (printf "/run/credential/%s" .ref.key) -}}
name: {{ .name }}
command: {{ concat $command (.more | default list) | toJson }}
credential:
  volume: {{ .name }}
  secret: {{ .ref.name }}
{{- end -}}

{{/* Options that limit which Connections and Variables the operator may grant to its workers, as a JSON list. */}}
{{- define "airflow-edge.allowedNames" -}}
{{- $options := list -}}
{{- range $option, $names := dict "connections" .Values.operator.allowedConnections "variables" .Values.operator.allowedVariables -}}
{{- if kindIs "slice" $names -}}
{{- $options = append $options (printf "--%s=%s" $option (join "," $names)) -}}
{{- end -}}
{{- end -}}
{{- toJson $options -}}
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
    {{- with .step.credential }}
    - name: {{ .volume }}
      mountPath: /run/credential
      readOnly: true
    {{- end }}
{{- end -}}
