{{- define "flowmesh.fullname" -}}
{{- if contains "flowmesh" .Release.Name -}}
{{- printf "%s-operator" (.Release.Name | trunc 50 | trimSuffix "-") -}}
{{- else -}}
{{- printf "%s-flowmesh-operator" (.Release.Name | trunc 42 | trimSuffix "-") -}}
{{- end -}}
{{- end -}}

{{- define "flowmesh.serviceAccountName" -}}
{{- default (include "flowmesh.fullname" .) .Values.serviceAccount.name -}}
{{- end -}}

{{- define "flowmesh.selectorLabels" -}}
app.kubernetes.io/name: flowmesh
app.kubernetes.io/component: operator
app.kubernetes.io/instance: {{ .Release.Name }}
{{- end -}}

{{- define "flowmesh.labels" -}}
{{ include "flowmesh.selectorLabels" . }}
app.kubernetes.io/version: {{ .Chart.AppVersion | quote }}
app.kubernetes.io/part-of: flowmesh
app.kubernetes.io/managed-by: {{ .Release.Service }}
{{- end -}}

{{- define "flowmesh.image" -}}
{{- with .Values.image -}}
{{- if .digest -}}
{{ printf "%s@%s" .repository .digest }}
{{- else -}}
{{ printf "%s:%s" .repository (default $.Chart.AppVersion .tag) }}
{{- end -}}
{{- end -}}
{{- end -}}

{{- /* The namespaces looked after, as a JSON list. */ -}}
{{- define "flowmesh.namespaces" -}}
{{- default (list .Release.Namespace) .Values.namespaces | uniq | sortAlpha | toJson -}}
{{- end -}}
