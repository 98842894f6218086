{{/* Airflow's configuration without secrets, as environment variables. airflow.config overrides the defaults. */}}
{{- define "airflow-edge.airflowSettings" -}}
{{- $settings := include "airflow-edge.airflowDefaults" . | fromYaml -}}
{{- range $section, $options := .Values.airflow.config -}}
{{- range $name, $value := $options -}}
{{- $_ := set $settings (printf "AIRFLOW__%s__%s" $section $name | upper) (include "airflow-edge.text" $value) -}}
{{- end -}}
{{- end -}}
{{- toYaml $settings -}}
{{- end -}}

{{- define "airflow-edge.airflowDefaults" -}}
{{- $url := printf "http://%s-api-server.%s.svc:8080" (include "airflow-edge.fullname" .) .Release.Namespace -}}
AIRFLOW__CORE__EXECUTOR: {{ .Values.airflow.executor | quote }}
AIRFLOW__CORE__LOAD_EXAMPLES: "False"
AIRFLOW__CORE__DAGS_FOLDER: /opt/airflow/dags
AIRFLOW__CORE__EXECUTION_API_SERVER_URL: {{ $url }}/execution/
AIRFLOW__CORE__AUTH_MANAGER: airflow.api_fastapi.auth.managers.simple.simple_auth_manager.SimpleAuthManager
AIRFLOW__CORE__SIMPLE_AUTH_MANAGER_USERS: admin:admin
AIRFLOW__CORE__SIMPLE_AUTH_MANAGER_PASSWORDS_FILE: /opt/airflow/passwords.json
AIRFLOW__API__PORT: "8080"
AIRFLOW__API__WORKERS: {{ .Values.airflow.apiServer.workers | quote }}
AIRFLOW__API__BASE_URL: {{ include "airflow-edge.airflowUrl" . | quote }}
AIRFLOW__SCHEDULER__ENABLE_HEALTH_CHECK: "True"
AIRFLOW__LOGGING__LOGGING_CONFIG_CLASS: edge_provider.logging_config.LOGGING_CONFIG
AIRFLOW__LOGGING__COLORED_CONSOLE_LOG: "False"
AIRFLOW__EDGE__ADMIN_API_URL: http://{{ include "airflow-edge.fullname" . }}-edge-api.{{ .Release.Namespace }}.svc:8800
AIRFLOW__EDGE__API_URL: {{ include "airflow-edge.sitesUrl" . | quote }}
{{- with .Values.dags.bundles }}
AIRFLOW__DAG_PROCESSOR__DAG_BUNDLE_CONFIG_LIST: {{ toJson . | quote }}
{{- end }}
{{- end -}}

{{/* URL of the edge API as sites call it. Without an Ingress, it can be called from inside the cluster only. */}}
{{- define "airflow-edge.sitesUrl" -}}
{{- if .Values.ingress.enabled -}}
{{- include "airflow-edge.ingressUrl" . -}}
{{- else -}}
http://{{ include "airflow-edge.fullname" . }}-edge-api-sites.{{ .Release.Namespace }}.svc:8801
{{- end -}}
{{- end -}}

{{/* URL at which people open Airflow's UI. */}}
{{- define "airflow-edge.airflowUrl" -}}
{{- if .Values.airflow.baseUrl -}}
{{- .Values.airflow.baseUrl -}}
{{- else if and .Values.ingress.enabled .Values.ingress.ui -}}
{{- include "airflow-edge.ingressUrl" . -}}
{{- else -}}
http://localhost:8080
{{- end -}}
{{- end -}}

{{/* `envFrom` and `env` of Airflow's containers. */}}
{{- define "airflow-edge.airflowEnv" -}}
{{- $secret := include "airflow-edge.airflowSecret" . -}}
envFrom:
  - configMapRef:
      name: {{ include "airflow-edge.fullname" . }}-airflow
env:
  {{- include "airflow-edge.secretEnv" (dict "name" "AIRFLOW__DATABASE__SQL_ALCHEMY_CONN" "ref" (include "airflow-edge.ownerUrl" . | fromYaml)) | nindent 2 }}
  {{- include "airflow-edge.secretEnv" (dict "name" "AIRFLOW__CORE__FERNET_KEY" "ref" (dict "name" $secret "key" "fernet-key")) | nindent 2 }}
  {{- include "airflow-edge.secretEnv" (dict "name" "AIRFLOW__API__SECRET_KEY" "ref" (dict "name" $secret "key" "api-secret-key")) | nindent 2 }}
  {{- include "airflow-edge.secretEnv" (dict "name" "AIRFLOW__API_AUTH__JWT_SECRET" "ref" (dict "name" $secret "key" "jwt-secret")) | nindent 2 }}
  {{- with .Values.airflow.env }}
  {{- toYaml . | nindent 2 }}
  {{- end }}
{{- end -}}

{{/* Name of the Secret with Airflow's keys. */}}
{{- define "airflow-edge.airflowSecret" -}}
{{- .Values.airflow.existingSecret | default (printf "%s-airflow" (include "airflow-edge.fullname" .)) -}}
{{- end -}}

{{/*
The Deployment of an Airflow component. Call with (dict "root" $ "component" NAME "values" VALUES). Optional:
"container" (ports and probes as YAML), "env" (more variables as YAML) and "copyPasswords" (true for the api-server).
*/}}
{{- define "airflow-edge.airflowDeployment" -}}
{{- $root := .root -}}
{{- $pod := .values.pod -}}
{{- $about := dict "root" $root "component" .component "pod" $pod "checksums" (dict "config" (include "airflow-edge.airflowSettings" $root)) -}}
{{- $image := include "airflow-edge.containerBasics" (dict "root" $root "image" $root.Values.airflow.image) -}}
apiVersion: apps/v1
kind: Deployment
metadata:
  {{- include "airflow-edge.metadata" $about | nindent 2 }}
spec:
  replicas: {{ .values.replicas }}
  selector:
    matchLabels:
      {{- include "airflow-edge.selectorLabels" $about | nindent 6 }}
  template:
    metadata:
      {{- include "airflow-edge.podMetadata" $about | nindent 6 }}
    spec:
      automountServiceAccountToken: false
      enableServiceLinks: false
      {{- include "airflow-edge.podSecurity" 50000 | nindent 6 }}
      {{- include "airflow-edge.pullSecrets" $root | nindent 6 }}
      {{- include "airflow-edge.scheduling" $about | nindent 6 }}
      initContainers:
        {{- include "airflow-edge.waitForDatabase" (dict "root" $root "ref" (include "airflow-edge.ownerUrl" $root | fromYaml)) | nindent 8 }}
        {{- if .copyPasswords }}
        {{- include "airflow-edge.copyPasswords" (dict "root" $root "image" $image) | nindent 8 }}
        {{- end }}
      containers:
        - name: {{ .component }}
          {{- $image | nindent 10 }}
          args: [airflow, {{ .component }}]
          {{- include "airflow-edge.airflowEnv" $root | nindent 10 }}
            {{- with .env }}
            {{- . | nindent 12 }}
            {{- end }}
            {{- with $pod.env }}
            {{- toYaml . | nindent 12 }}
            {{- end }}
          {{- with .container }}
          {{- . | nindent 10 }}
          {{- end }}
          resources:
            {{- toYaml $pod.resources | nindent 12 }}
          {{- include "airflow-edge.containerSecurity" $root | nindent 10 }}
          volumeMounts:
            {{- include "airflow-edge.airflowMounts" $root | nindent 12 }}
      volumes:
        - name: tmp
          emptyDir: {}
        - name: home
          emptyDir: {}
        {{- include "airflow-edge.dagsVolume" $root | nindent 8 }}
        {{- if .copyPasswords }}
        - name: passwords
          secret:
            secretName: {{ include "airflow-edge.airflowSecret" $root }}
            defaultMode: 0440
            items:
              - key: passwords.json
                path: passwords.json
        {{- end }}
{{- end -}}

{{/* Airflow opens its password file for writing, and a Secret volume is read-only. */}}
{{- define "airflow-edge.copyPasswords" -}}
- name: copy-passwords
  {{- .image | nindent 2 }}
  args: [install, -m, "0600", /run/passwords/passwords.json, /opt/airflow/passwords.json]
  {{- include "airflow-edge.containerSecurity" .root | nindent 2 }}
  volumeMounts:
    - name: passwords
      mountPath: /run/passwords
      readOnly: true
    - name: home
      mountPath: /opt/airflow
{{- end -}}

{{- define "airflow-edge.airflowMounts" -}}
- name: tmp
  mountPath: /tmp
- name: home
  mountPath: /opt/airflow
- name: dags
  mountPath: /opt/airflow/dags
  readOnly: true
{{- end -}}
