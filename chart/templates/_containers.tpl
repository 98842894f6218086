{{/* Gives the Service time to remove the pod from its endpoints before it stops, so that no request fails. */}}
{{- define "airflow-edge.preStop" -}}
lifecycle:
  preStop:
    exec:
      command: [sleep, "5"]
{{- end -}}

{{/*
An init container that waits for the database and its schema, and logs in one line what it waits for.
Call with (dict "root" $ "ref" (Secret and key of the URL) "arguments" (further arguments)).
*/}}
{{- define "airflow-edge.waitForDatabase" -}}
- name: wait-for-database
  {{- include "airflow-edge.containerBasics" (dict "root" .root "image" .root.Values.edgeApi.image) | nindent 2 }}
  args: {{ concat (list "edge-api" "db" "wait") (.arguments | default list) | toJson }}
  env:
    {{- include "airflow-edge.secretEnv" (dict "name" "EDGE_API_DATABASE_URL" "ref" .ref) | nindent 4 }}
  {{- include "airflow-edge.containerSecurity" . | nindent 2 }}
  volumeMounts:
    - name: tmp
      mountPath: /tmp
{{- end -}}
