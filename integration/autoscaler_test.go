package integration

import (
	"regexp"
	"strings"
	"testing"

	"karve.dev/karve/integration/cluster"
)

const busyApp = `
apiVersion: apps/v1
kind: Deployment
metadata: {name: busy}
spec:
  selector: {matchLabels: {app: busy}}
  template:
    metadata: {labels: {app: busy}}
    spec:
      terminationGracePeriodSeconds: 0
      containers: [{name: app, image: my-app, command: [sh, -c, 'while :; do [ -f /work ] || sleep 0.1; done'], resources: {requests: {cpu: 50m}, limits: {cpu: 100m}}}]
---
apiVersion: autoscaling/v2
kind: HorizontalPodAutoscaler
metadata: {name: busy}
spec:
  scaleTargetRef: {apiVersion: apps/v1, kind: Deployment, name: busy}
  maxReplicas: 3
  metrics: [{type: Resource, resource: {name: cpu, target: {type: Utilization, averageUtilization: 60}}}]
  behavior: {scaleDown: {stabilizationWindowSeconds: 0}}
`

// TestAutoscaler gives a Deployment work and takes it away again.
func TestAutoscaler(t *testing.T) {
	c := cluster.Start(t)
	c.Apply(busyApp)
	shows := func(what, pattern string) {
		t.Helper()
		c.Eventually(what, func() string {
			out := c.Kubectl("get", "hpa", "busy", "--no-headers")
			if regexp.MustCompile(pattern).MatchString(out) {
				return ""
			}
			return out + c.Kubectl("describe", "hpa", "busy")
		})
	}
	shows("idle pods are few", `Deployment/busy +cpu: \d+%/60% +1 +3 +1 `)
	pod := strings.TrimSpace(c.Kubectl("get", "pods", "-o", "name"))
	c.Kubectl("exec", pod, "--", "busybox", "touch", "/work")
	shows("busy ones become more", `Deployment/busy +cpu: \d+%/60% +1 +3 +[23] `)
	c.Kubectl("exec", pod, "--", "busybox", "rm", "/work")
	shows("and fewer again", `Deployment/busy +cpu: \d+%/60% +1 +3 +1 `)
	c.Eventually("it says why", func() string {
		out := c.Kubectl("describe", "hpa", "busy")
		for _, want := range []string{"SuccessfulRescale", "cpu resource utilization (percentage of request) above target", "All metrics below target", "ScalingActive   True    ValidMetricFound"} {
			if !strings.Contains(out, want) {
				return out
			}
		}
		return ""
	})
}
