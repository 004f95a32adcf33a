{{/* Name of the operator's objects: the release's, unless it says "kotoba-operator" already. */}}
{{- define "kotoba-operator.fullname" -}}
{{- if contains .Chart.Name .Release.Name -}}
{{- .Release.Name | trunc 50 | trimSuffix "-" -}}
{{- else -}}
{{- printf "%s-%s" .Release.Name .Chart.Name | trunc 50 | trimSuffix "-" -}}
{{- end -}}
{{- end -}}

{{/* The label by which clusters' network policies let the operator in: app.kubernetes.io/name must stay "kotoba-operator". */}}
{{- define "kotoba-operator.selector" -}}
app.kubernetes.io/name: kotoba-operator
app.kubernetes.io/instance: {{ .Release.Name }}
{{- end -}}

{{- define "kotoba-operator.labels" -}}
{{ include "kotoba-operator.selector" . }}
app.kubernetes.io/version: {{ .Chart.AppVersion | quote }}
app.kubernetes.io/component: operator
app.kubernetes.io/part-of: kotoba
app.kubernetes.io/managed-by: {{ .Release.Service }}
helm.sh/chart: {{ printf "%s-%s" .Chart.Name .Chart.Version }}
{{- end -}}

{{- define "kotoba-operator.serviceAccount" -}}
{{- .Values.serviceAccount.name | default (include "kotoba-operator.fullname" .) -}}
{{- end -}}
