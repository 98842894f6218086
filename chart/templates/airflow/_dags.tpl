{{/* The volume with DAG files. */}}
{{- define "airflow-edge.dagsVolume" -}}
- name: dags
  {{- if .Values.dags.configMap }}
  # A ConfigMap volume shows each file three times, through symbolic links that Airflow must not follow.
  projected:
    sources:
      - configMap:
          name: {{ .Values.dags.configMap }}
      - configMap:
          name: {{ include "airflow-edge.fullname" . }}-airflowignore
  {{- else if .Values.dags.existingClaim }}
  persistentVolumeClaim:
    claimName: {{ .Values.dags.existingClaim }}
    readOnly: true
  {{- else }}
  emptyDir: {}
  {{- end }}
{{- end -}}
