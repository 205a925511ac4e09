{{- /* Helm ends release names at 53 characters, so that a Service of this name stays within its 63. */}}
{{- define "gatepost.name" -}}
{{- if contains .Chart.Name .Release.Name }}{{ .Release.Name }}{{ else }}{{ printf "%s-%s" .Release.Name .Chart.Name }}{{ end }}
{{- end }}

{{- define "gatepost.selector" -}}
app.kubernetes.io/name: {{ .top.Chart.Name }}
app.kubernetes.io/instance: {{ .top.Release.Name | quote }}
app.kubernetes.io/component: {{ .component }}
{{- end }}

{{- define "gatepost.labels" -}}
{{ include "gatepost.selector" . }}
app.kubernetes.io/version: {{ .top.Chart.AppVersion | quote }}
app.kubernetes.io/managed-by: {{ .top.Release.Service }}
helm.sh/chart: {{ printf "%s-%s" .top.Chart.Name .top.Chart.Version | replace "+" "_" }}
{{- end }}

{{- define "gatepost.image" -}}
{{ printf "%s:%s" .Values.image.repository (.Values.image.tag | default .Chart.AppVersion) | quote }}
{{- end }}

{{- define "gatepost.serviceAccount" -}}
{{- if .Values.serviceAccount.create }}{{ .Values.serviceAccount.name | default (include "gatepost.name" .) }}{{ else }}{{ .Values.serviceAccount.name | default "default" }}{{ end }}
{{- end }}

{{- define "gatepost.podSecurity" -}}
runAsNonRoot: true
runAsUser: 10001
runAsGroup: 10001
fsGroup: 10001
seccompProfile: { type: RuntimeDefault }
{{- end }}

{{- define "gatepost.containerSecurity" -}}
allowPrivilegeEscalation: false
readOnlyRootFilesystem: true
capabilities: { drop: [ALL] }
{{- end }}

{{- /* A Deployment of one process: dict top, component, spec (values), args, serves (is it the receiver?). */}}
{{- define "gatepost.deployment" -}}
{{- $values := .top.Values -}}
{{- $files := and (eq .component "lookups") $values.directoriesVolume -}}
apiVersion: apps/v1
kind: Deployment
metadata:
  name: {{ include "gatepost.name" .top }}-{{ .component }}
  labels: {{- include "gatepost.labels" . | nindent 4 }}
spec:
  replicas: {{ .spec.replicas }}
  {{- if .serves }}
  strategy:
    rollingUpdate: { maxUnavailable: 0, maxSurge: 1 }
  {{- end }}
  selector:
    matchLabels: {{- include "gatepost.selector" . | nindent 6 }}
  template:
    metadata:
      labels: {{- include "gatepost.labels" . | nindent 8 }}
      annotations:
        {{- /* Processes read both once, at the start: a change is a roll-out. */}}
        checksum/config: {{ $values.config | sha256sum }}
        checksum/secrets: {{ $values.secrets | toJson | sha256sum }}
        {{- with $values.podAnnotations }}{{ toYaml . | nindent 8 }}{{ end }}
    spec:
      serviceAccountName: {{ include "gatepost.serviceAccount" .top }}
      automountServiceAccountToken: false
      {{- /* A Service named like our variables would set them. */}}
      enableServiceLinks: false
      {{- with $values.imagePullSecrets }}
      imagePullSecrets: {{- toYaml . | nindent 8 }}
      {{- end }}
      securityContext: {{- include "gatepost.podSecurity" . | nindent 8 }}
      terminationGracePeriodSeconds: {{ ternary 30 60 .serves }}
      topologySpreadConstraints:
        - maxSkew: 1
          topologyKey: kubernetes.io/hostname
          whenUnsatisfiable: ScheduleAnyway
          labelSelector:
            matchLabels: {{- include "gatepost.selector" . | nindent 14 }}
      containers:
        - name: gatepost
          image: {{ include "gatepost.image" .top }}
          imagePullPolicy: {{ $values.image.pullPolicy }}
          args: {{- toYaml .args | nindent 12 }}
          env:
            - { name: GATEPOST_CONFIG, value: /etc/gatepost/gatepost.toml }
          {{- if or $values.secrets $values.existingSecret }}
          envFrom:
            {{- if $values.secrets }}
            - secretRef: { name: {{ include "gatepost.name" .top }} }
            {{- end }}
            {{- with $values.existingSecret }}
            - secretRef: { name: {{ . | quote }} }
            {{- end }}
          {{- end }}
          securityContext: {{- include "gatepost.containerSecurity" . | nindent 12 }}
          {{- with .spec.resources }}
          resources: {{- toYaml . | nindent 12 }}
          {{- end }}
          {{- if .serves }}
          ports:
            - { name: http, containerPort: 8080 }
          livenessProbe:
            httpGet: { path: /health/live, port: http }
            timeoutSeconds: 5
          readinessProbe:
            httpGet: { path: /health/ready, port: http }
            periodSeconds: 5
            timeoutSeconds: 5
          lifecycle:
            preStop:
              {{- /* Load balancers go on sending for a moment; a source that is refused may never try again. */}}
              sleep: { seconds: 5 }
          {{- else }}
          {{- /* No probes: a worker serves nothing that could be asked. One that dies is restarted, a job that hangs meets
                 RQ's time limit, and the grace period lets the job in hand end before the pod does. */}}
          {{- end }}
          volumeMounts:
            - { name: config, mountPath: /etc/gatepost, readOnly: true }
            - { name: tmp, mountPath: /tmp }
            {{- if $files }}
            - { name: directories, mountPath: /etc/gatepost-directories, readOnly: true }
            {{- end }}
      volumes:
        - name: config
          {{- if $values.existingConfigSecret }}
          secret: { secretName: {{ $values.existingConfigSecret | quote }} }
          {{- else }}
          configMap: { name: {{ include "gatepost.name" .top }} }
          {{- end }}
        - { name: tmp, emptyDir: {} }
        {{- if $files }}
        - name: directories
          {{- toYaml $values.directoriesVolume | nindent 10 }}
        {{- end }}
      {{- range $key := list "nodeSelector" "tolerations" "affinity" }}
      {{- with get $values $key }}
      {{ $key }}: {{- toYaml . | nindent 8 }}
      {{- end }}
      {{- end }}
{{- end }}
