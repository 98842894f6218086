{{/* Values that contradict each other. Each line names the key and what mends it. */}}
{{- define "airflow-edge.check" -}}
{{- $problems := list -}}
{{- range $part := list "central" "database" "operator" "edgeApi" "dags" "release" -}}
{{- $found := include (printf "airflow-edge.check.%s" $part) $ | trim -}}
{{- if $found -}}
{{- $problems = append $problems (printf "  %s" $found) -}}
{{- end -}}
{{- end -}}
{{- if $problems -}}
{{- fail (printf "\n\nThese values do not fit together:\n\n%s\n" (join "\n" $problems)) -}}
{{- end -}}
{{- end -}}

{{- define "airflow-edge.check.central" }}
{{- if and .Values.central.url (or .Values.edgeApi.enabled .Values.airflow.enabled .Values.postgresql.enabled) }}
  central.url is for a cluster that only has workers. Set edgeApi.enabled, airflow.enabled and postgresql.enabled to false, or leave central.url empty.
{{- end }}
{{- if and .Values.central.url (not .Values.operator.existingSecret) }}
  operator.existingSecret is empty. Name a Secret with a credential of role admin for the edge API at central.url.
{{- end }}
{{- if and .Values.central.caSecret (not (hasPrefix "https://" .Values.central.url)) }}
  central.caSecret is of use only with a central.url that begins with https://. Set central.url, or leave central.caSecret empty.
{{- end }}
{{- if and .Values.central.url (not .Values.operator.enabled) }}
  operator.enabled is false, but in a cluster that only has workers there is nothing else. Set operator.enabled=true.
{{- end }}
{{- end -}}

{{- define "airflow-edge.check.database" }}
{{- $external := or .Values.database.existingSecret .Values.database.apiRole.existingSecret }}
{{- if and .Values.postgresql.enabled $external }}
  database.existingSecret and database.apiRole.existingSecret are for a database of your own. Set postgresql.enabled=false to use it, or leave both empty.
{{- end }}
{{- if and (include "airflow-edge.hasDatabase" .) (not .Values.postgresql.enabled) (not .Values.database.existingSecret) }}
  database.existingSecret is empty. Name a Secret with the URL of Airflow's database, or set postgresql.enabled=true.
{{- end }}
{{- end -}}

{{- define "airflow-edge.check.operator" }}
{{- $own := list .Release.Namespace }}
{{- if and .Values.operator.enabled (not .Values.edgeApi.enabled) (not .Values.central.url) }}
  central.url is empty, but the operator needs an edge API. Set central.url to the one of your centre, or set edgeApi.enabled=true.
{{- end }}
{{- if and .Values.operator.clusterWide .Values.operator.namespaces }}
  operator.namespaces has no use with operator.clusterWide. Leave one of them out.
{{- end }}
{{- $namespaces := .Values.operator.namespaces | default $own }}
{{- with .Values.operator.externalNamespace }}
{{- if not (or $.Values.operator.clusterWide (has . $namespaces)) }}
  operator.externalNamespace is {{ . }}, where the operator does not work. Add it to operator.namespaces.
{{- end }}
{{- end }}
{{- if and .Values.pools (not .Values.operator.enabled) }}
  pools needs the operator. Set operator.enabled=true.
{{- end }}
{{- if and .Values.pools (not .Values.operator.clusterWide) (not (has .Release.Namespace $namespaces)) }}
  pools are made in the namespace {{ .Release.Namespace }}, where the operator does not work. Add it to operator.namespaces.
{{- end }}
{{- end -}}

{{- define "airflow-edge.check.edgeApi" }}
{{- if and .Values.airflow.enabled (not .Values.edgeApi.enabled) }}
  edgeApi.enabled is false, but Airflow's edge executor needs an edge API. Set edgeApi.enabled=true, or airflow.enabled=false.
{{- end }}
{{- if and .Values.edgeApi.enabled (not (include "airflow-edge.executionApiUrl" .)) }}
  edgeApi.executionApiUrl is empty. Set it to the Execution API of your Airflow as workers reach it, like https://airflow.example.com/execution/.
{{- end }}
{{- with .Values.edgeApi.autoscaling }}
{{- if and .enabled (gt (int .minReplicas) (int .maxReplicas)) }}
  edgeApi.autoscaling.minReplicas is {{ .minReplicas }}, more than maxReplicas, {{ .maxReplicas }}. Lower it.
{{- end }}
{{- end }}
{{- if and .Values.edgeApi.autoscaling.enabled (not (dig "requests" "cpu" "" (.Values.edgeApi.pod.resources | default dict))) }}
  edgeApi.pod.resources.requests.cpu is empty, of which edgeApi.autoscaling takes a percentage. Set it, for example to 500m.
{{- end }}
{{- if and .Values.ingress.enabled (not .Values.edgeApi.enabled) }}
  ingress.enabled has nothing to lead to without an edge API. Set ingress.enabled=false.
{{- end }}
{{- if and .Values.ingress.enabled (not .Values.ingress.host) }}
  ingress.host is empty. Set it to the name under which workers reach this cluster.
{{- end }}
{{- if and .Values.edgeApi.v1.enabled (not .Values.airflow.enabled) (not .Values.edgeApi.v1.existingSecret) }}
  edgeApi.v1.existingSecret is empty. Name a Secret with the [api_auth] jwt_secret of your Airflow, or set edgeApi.v1.enabled=false.
{{- end }}
{{- end -}}

{{- define "airflow-edge.check.dags" }}
{{- $given := list }}
{{- range $key := list "configMap" "existingClaim" "bundles" }}
{{- if index $.Values.dags $key }}
{{- $given = append $given (printf "dags.%s" $key) }}
{{- end }}
{{- end }}
{{- if gt (len $given) 1 }}
  {{ join " and " $given }} are both set. DAG files come from one place: leave one of them.
{{- end }}
{{- end -}}

{{- define "airflow-edge.check.release" }}
{{- $marker := lookup "v1" "ConfigMap" .Release.Namespace "airflow-edge" }}
{{- $holder := dig "data" "release" "" (default dict $marker) }}
{{- if and $holder (ne $holder .Release.Name) }}
  The namespace {{ .Release.Namespace }} already has an airflow-edge, the release {{ $holder }}. Change that one with helm upgrade, or install into another namespace.
{{- end }}
{{- end -}}
