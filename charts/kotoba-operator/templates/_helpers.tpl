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

{{- define "kotoba-operator.image" -}}
{{ printf "%s:%s" .Values.image.repository (.Values.image.tag | default .Chart.AppVersion) | quote }}
{{- end -}}

{{/* What the operator and its check must agree on: where the lease is, and which namespaces are watched. */}}
{{- define "kotoba-operator.environment" -}}
- name: POD_NAMESPACE
  valueFrom:
    fieldRef:
      fieldPath: metadata.namespace
- name: KOTOBA_WATCH_NAMESPACES
  value: {{ join "," .Values.watchNamespaces | quote }}
- name: KOTOBA_LEASE_NAME
  value: {{ include "kotoba-operator.fullname" . }}
{{- end -}}

{{/* Pod Security "restricted", and besides a file system that cannot be written. */}}
{{- define "kotoba-operator.podSecurity" -}}
runAsNonRoot: true
runAsUser: 65532
runAsGroup: 65532
seccompProfile:
  type: RuntimeDefault
{{- end -}}

{{- define "kotoba-operator.containerSecurity" -}}
allowPrivilegeEscalation: false
readOnlyRootFilesystem: true
capabilities:
  drop: [ALL]
{{- end -}}
