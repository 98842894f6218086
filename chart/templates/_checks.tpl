{{/* Values that are removed or contradict each other. Each line names the key and how to fix it. */}}
{{- define "airflow-edge.check" -}}
{{- $problems := list -}}
{{- range $part := list "removed" "controlPlane" "database" "operator" "edgeApi" "dags" "release" -}}
{{- $found := include (printf "airflow-edge.check.%s" $part) $ | trim -}}
{{- if $found -}}
{{- $problems = append $problems (printf "  %s" $found) -}}
{{- end -}}
{{- end -}}
{{- if $problems -}}
{{- fail (printf "\n\nThese values are invalid:\n\n%s\n" (join "\n" $problems)) -}}
{{- end -}}
{{- end -}}

{{/* Keys of former versions. The schema lets them pass, so that they are refused here with a helpful text. */}}
{{- define "airflow-edge.check.removed" }}
{{- range $old, $new := dict "central" "controlPlane" "pools" "workerPools" }}
{{- if hasKey $.Values $old }}
  {{ $old }} was renamed. Use {{ $new }} instead; the keys in it are the same.
{{- end }}
{{- end }}
{{- if hasKey .Values.edgeApi "service" }}
  edgeApi.service was replaced. Use edgeApi.sitesService, the Service for workers outside the cluster (port 8801); the other one stays inside the cluster.
{{- end }}
{{- end -}}

{{- define "airflow-edge.check.controlPlane" }}
{{- if and .Values.controlPlane.url (or .Values.edgeApi.enabled .Values.airflow.enabled .Values.postgresql.enabled) }}
  controlPlane.url is for a cluster that only runs workers. Set edgeApi.enabled, airflow.enabled and postgresql.enabled to false, or leave controlPlane.url empty.
{{- end }}
{{- if and .Values.controlPlane.url (not .Values.operator.existingSecret) }}
  operator.existingSecret is empty. Name a Secret with an admin credential for the edge API at controlPlane.url.
{{- end }}
{{- if and .Values.controlPlane.caSecret (not (hasPrefix "https://" .Values.controlPlane.url)) }}
  controlPlane.caSecret has no effect without a controlPlane.url that begins with https://. Set controlPlane.url, or leave controlPlane.caSecret empty.
{{- end }}
{{- if and .Values.controlPlane.url (not .Values.operator.enabled) }}
  operator.enabled is false, but with controlPlane.url the operator is all that the chart installs. Set operator.enabled=true.
{{- end }}
{{- end -}}

{{- define "airflow-edge.check.database" }}
{{- $external := or .Values.database.existingSecret .Values.database.apiRole.existingSecret }}
{{- if and .Values.postgresql.enabled $external }}
  database.existingSecret and database.apiRole.existingSecret are for an existing database. Set postgresql.enabled=false to use it, or leave both empty.
{{- end }}
{{- if and (include "airflow-edge.hasDatabase" .) (not .Values.postgresql.enabled) (not .Values.database.existingSecret) }}
  database.existingSecret is empty. Name a Secret with the URL of Airflow's database, or set postgresql.enabled=true.
{{- end }}
{{- end -}}

{{- define "airflow-edge.check.operator" }}
{{- $own := list .Release.Namespace }}
{{- if and .Values.operator.enabled (not .Values.edgeApi.enabled) (not .Values.controlPlane.url) }}
  controlPlane.url is empty, but the operator needs an edge API. Set controlPlane.url to the URL of your control plane's edge API, or set edgeApi.enabled=true.
{{- end }}
{{- if and .Values.controlPlane.url (or (kindIs "slice" .Values.operator.allowedConnections) (kindIs "slice" .Values.operator.allowedVariables)) }}
  operator.allowedConnections and operator.allowedVariables have no effect with controlPlane.url. Leave them out, and create the credential with `edge-api credential create --connections … --variables …` at the control plane.
{{- end }}
{{- if and .Values.operator.clusterWide .Values.operator.namespaces }}
  operator.namespaces has no effect with operator.clusterWide. Leave one of them out.
{{- end }}
{{- $namespaces := .Values.operator.namespaces | default $own }}
{{- with .Values.operator.externalNamespace }}
{{- if not (or $.Values.operator.clusterWide (has . $namespaces)) }}
  operator.externalNamespace is {{ . }}, a namespace that the operator does not watch. Add it to operator.namespaces.
{{- end }}
{{- end }}
{{- $bound := list }}
{{- range .Values.operator.namespaceBounds }}
{{- $bound = append $bound .namespace }}
{{- end }}
{{- if and $bound .Values.operator.externalNamespace (not (has .Values.operator.externalNamespace $bound)) }}
  operator.externalNamespace is {{ .Values.operator.externalNamespace }}, which may have no workers. Add it to operator.namespaceBounds.
{{- end }}
{{- if and $bound .Values.workerPools (not (has .Release.Namespace $bound)) }}
  workerPools are created in the namespace {{ .Release.Namespace }}, which may have no workers. Add it to operator.namespaceBounds.
{{- end }}
{{- if and .Values.workerPools (not .Values.operator.enabled) }}
  workerPools need the operator. Set operator.enabled=true.
{{- end }}
{{- if and .Values.workerPools (not .Values.operator.clusterWide) (not (has .Release.Namespace $namespaces)) }}
  workerPools are created in the namespace {{ .Release.Namespace }}, which the operator does not watch. Add it to operator.namespaces.
{{- end }}
{{- end -}}

{{- define "airflow-edge.check.edgeApi" }}
{{- if and .Values.airflow.enabled (not .Values.edgeApi.enabled) }}
  edgeApi.enabled is false, but Airflow's edge executor needs an edge API. Set edgeApi.enabled=true, or airflow.enabled=false.
{{- end }}
{{- if and .Values.edgeApi.enabled (not (include "airflow-edge.executionApiUrl" .)) }}
  edgeApi.executionApiUrl is empty. Set it to the URL of Airflow's Execution API as the edge API reaches it, for example http://airflow-api-server.airflow.svc:8080/execution/.
{{- end }}
{{- with .Values.edgeApi.autoscaling }}
{{- if and .enabled (gt (int .minReplicas) (int .maxReplicas)) }}
  edgeApi.autoscaling.minReplicas is {{ .minReplicas }}, which is more than maxReplicas ({{ .maxReplicas }}). Lower it.
{{- end }}
{{- end }}
{{- if and .Values.edgeApi.autoscaling.enabled (not (dig "requests" "cpu" "" (.Values.edgeApi.pod.resources | default dict))) }}
  edgeApi.pod.resources.requests.cpu is empty, but edgeApi.autoscaling scales by a percentage of it. Set it, for example to 500m.
{{- end }}
{{- if and .Values.ingress.enabled (not .Values.edgeApi.enabled) }}
  ingress.enabled is true, but without an edge API the Ingress has no backend. Set ingress.enabled=false.
{{- end }}
{{- if and .Values.ingress.enabled (not .Values.ingress.host) }}
  ingress.host is empty. Set it to the name that workers connect to.
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
  {{ join " and " $given }} are both set, but DAG files come from one place. Set only one of them.
{{- end }}
{{- end -}}

{{- define "airflow-edge.check.release" }}
{{- if hasPrefix "edgeworker-" (printf "%s-" (include "airflow-edge.fullname" .)) }}
  The release is named {{ .Release.Name }}, but names that begin with edgeworker- are for the objects of EdgeWorkers. Choose another name.
{{- end }}
{{- $marker := lookup "v1" "ConfigMap" .Release.Namespace "airflow-edge" }}
{{- $holder := dig "data" "release" "" (default dict $marker) }}
{{- if and $holder (ne $holder .Release.Name) }}
  The namespace {{ .Release.Namespace }} already has an airflow-edge, the release {{ $holder }}. Change it with helm upgrade, or install into another namespace.
{{- end }}
{{- end -}}
