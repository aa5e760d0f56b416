{{- define "lifeboat.name" -}}
{{- default .Chart.Name .Values.nameOverride | trunc 63 | trimSuffix "-" -}}
{{- end }}

{{- define "lifeboat.fullname" -}}
{{- if .Values.fullnameOverride -}}
{{- .Values.fullnameOverride | trunc 63 | trimSuffix "-" -}}
{{- else if contains (include "lifeboat.name" .) .Release.Name -}}
{{- .Release.Name | trunc 63 | trimSuffix "-" -}}
{{- else -}}
{{- printf "%s-%s" .Release.Name (include "lifeboat.name" .) | trunc 63 | trimSuffix "-" -}}
{{- end -}}
{{- end }}

{{- define "lifeboat.selectorLabels" -}}
app.kubernetes.io/name: {{ include "lifeboat.name" . }}
app.kubernetes.io/instance: {{ .Release.Name }}
{{- end }}

{{- define "lifeboat.labels" -}}
{{ include "lifeboat.selectorLabels" . }}
app.kubernetes.io/version: {{ .Chart.AppVersion | quote }}
app.kubernetes.io/managed-by: {{ .Release.Service }}
helm.sh/chart: {{ printf "%s-%s" .Chart.Name .Chart.Version | replace "+" "_" }}
{{- end }}

{{- define "lifeboat.image" -}}
{{- $repository := required "image.repository: where the image of charts/image/Dockerfile was pushed" .Values.image.repository -}}
{{- if .Values.image.digest -}}
{{ $repository }}@{{ .Values.image.digest }}
{{- else -}}
{{ $repository }}:{{ default .Chart.AppVersion .Values.image.tag }}
{{- end -}}
{{- end }}

{{- /* The config word for word; what no agent can run without is asked for here, not in a crash loop. */ -}}
{{- define "lifeboat.config" -}}
{{- $config := .Values.config -}}
{{- $_ := required "config.cluster: names the folder in the store" $config.cluster -}}
{{- $_ := required "config.stores: at least one, such as {url: s3://backups/etcd}" $config.stores -}}
{{- $keys := default dict $config.keys -}}
{{- $_ := required "config.keys.recipients: who can open backups; lifeboat keygen makes them" $keys.recipients -}}
{{- toYaml $config -}}
{{- end }}

{{- define "lifeboat.listen" -}}
{{- default "127.0.0.1:9797" (default dict .Values.config.http).listen -}}
{{- end }}

{{- define "lifeboat.port" -}}
{{- regexFind "[0-9]+$" (include "lifeboat.listen" .) -}}
{{- end }}

{{- /* Where the kubelet, on the same host network, finds the agent: an agent on all addresses is also on loopback. */ -}}
{{- define "lifeboat.probeHost" -}}
{{- $host := regexReplaceAll ":[0-9]+$" (include "lifeboat.listen" .) "" | trimPrefix "[" | trimSuffix "]" -}}
{{- if has $host (list "" "0.0.0.0" "::") -}}127.0.0.1{{- else -}}{{ $host }}{{- end -}}
{{- end }}
