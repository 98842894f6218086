{{/* A pool's worker template, extended by what DAG files and images need. Call with (dict "root" $ "pool" POOL). */}}
{{- define "airflow-edge.workerTemplate" -}}
{{- $values := .root.Values -}}
{{- $given := .pool.template | default dict -}}
{{- $env := list (dict "name" "AIRFLOW__CORE__EXECUTOR" "value" $values.airflow.executor) -}}
{{- $volumes := list -}}
{{- $mounts := list -}}
{{- $secrets := list -}}
{{- if or $values.dags.configMap $values.dags.existingClaim -}}
{{- $env = append $env (dict "name" "AIRFLOW__CORE__DAGS_FOLDER" "value" "/opt/airflow/dags") -}}
{{- $mounts = append $mounts (dict "name" "dags" "mountPath" "/opt/airflow/dags" "readOnly" true) -}}
{{- $volumes = append $volumes (include "airflow-edge.workerDags" .root | fromYaml) -}}
{{- end -}}
{{- range $values.image.pullSecrets -}}
{{- $secrets = append $secrets (dict "name" .) -}}
{{- end -}}
{{- $lists := dict "env" $env "volumes" $volumes "volumeMounts" $mounts "imagePullSecrets" $secrets -}}
{{- $template := dict "imagePullPolicy" ($values.worker.image.pullPolicy | default $values.image.pullPolicy) -}}
{{- range $name, $items := $lists -}}
{{- with concat $items (index $given $name | default list) -}}
{{- $_ := set $template $name . -}}
{{- end -}}
{{- end -}}
{{- merge $template (omit $given "env" "volumes" "volumeMounts" "imagePullSecrets") | toYaml -}}
{{- end -}}

{{/* A worker opens single files and never scans the folder, so a plain ConfigMap volume is enough. */}}
{{- define "airflow-edge.workerDags" -}}
name: dags
{{- if .Values.dags.configMap }}
configMap:
  name: {{ .Values.dags.configMap }}
{{- else }}
persistentVolumeClaim:
  claimName: {{ .Values.dags.existingClaim }}
  readOnly: true
{{- end }}
{{- end -}}
