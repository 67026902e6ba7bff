package integration

import (
	"os"
	"os/exec"
	"testing"

	"github.com/stretchr/testify/require"

	"karve.dev/karve/integration/cluster"
)

const troubles = `
apiVersion: apps/v1
kind: Deployment
metadata: {name: typo}
spec:
  replicas: 2
  selector: {matchLabels: {app: typo}}
  template:
    metadata: {labels: {app: typo}}
    spec: {containers: [{name: app, image: "my-ap:v2", imagePullPolicy: Never}]}
---
apiVersion: v1
kind: ConfigMap
metadata: {name: app-config}
---
apiVersion: v1
kind: Pod
metadata: {name: unset}
spec: {containers: [{name: app, image: my-app, envFrom: [{configMapRef: {name: app-confg}}]}]}
---
apiVersion: v1
kind: Pod
metadata: {name: crashing}
spec: {containers: [{name: app, image: my-app, command: [sh, -c, "echo no database; exit 3"]}]}
---
apiVersion: v1
kind: Pod
metadata: {name: greedy}
spec: {containers: [{name: app, image: my-app, command: [sh, -c, "tail /dev/zero"], resources: {limits: {memory: 20Mi}}}]}
---
apiVersion: v1
kind: Pod
metadata: {name: deaf, labels: {app: deaf}}
spec: {containers: [{name: app, image: my-app, ports: [{name: web, containerPort: 8080}], readinessProbe: {tcpSocket: {port: 8081}, periodSeconds: 1}}]}
---
apiVersion: v1
kind: Pod
metadata: {name: held, finalizers: [example.org/hold]}
spec: {terminationGracePeriodSeconds: 1, containers: [{name: app, image: my-app}]}
---
apiVersion: v1
kind: Service
metadata: {name: astray}
spec: {selector: {app: daef}, ports: [{port: 80}]}
`

// TestWhy asks about pods that do not run, and what leads to them, as somebody who is in a hurry.
func TestWhy(t *testing.T) {
	c := cluster.Start(t)
	c.Apply(troubles)
	c.Kubectl("delete", "pod", "held", "--wait=false")
	for _, ask := range []struct {
		args []string
		says []string
	}{
		{[]string{"deploy/typo"}, []string{"deploy/typo: 2 of 2 pods: container app: ErrImageNeverPull", "did you mean my-app:v2", "kubectl set image deploy/typo app=my-app:v2"}},
		{[]string{"pod", "unset"}, []string{`there is no ConfigMap "app-confg"`, "there is app-config", "kubectl create configmap app-confg"}},
		{[]string{"po/crashing"}, []string{"CrashLoopBackOff: it ended with exit code 3", "| no database", "the next time in"}},
		{[]string{"greedy"}, []string{"more memory than its limit 20Mi (OOMKilled)"}},
		{[]string{"deaf"}, []string{"readiness probe (connect to port 8081) does not succeed", "nothing listens on port 8081", "declares 8080 (web)"}},
		{[]string{"held"}, []string{"kept by finalizers: example.org/hold"}},
		{[]string{"svc/astray"}, []string{"its selector app=daef matches no pod", "kubectl set selector svc/astray app=deaf"}},
		{[]string{"-A"}, []string{"default deploy/typo", "default pod/greedy", "default svc/astray"}},
	} {
		c.Eventually("karve why "+ask.args[0], func() string {
			out, err := c.Karve("why", ask.args...)
			require.NoError(t, err, out)
			return lacks(out, ask.says...)
		})
	}
	// Without a name it is the cluster that kubectl talks to.
	cmd := exec.Command(cluster.Program(t, "karve"), "why", "-n", "kube-public")
	cmd.Env = append(os.Environ(), "KUBECONFIG="+c.Kubeconfig(), "KARVE_NAME=")
	out, err := cmd.CombinedOutput()
	require.NoError(t, err, string(out))
	require.Equal(t, "nothing is wrong in namespace \"kube-public\"\n", string(out))

	c.Kubectl("set", "image", "deploy/typo", "app=my-app:v2")
	c.Kubectl("rollout", "status", "deploy/typo", "--timeout=60s")
	told, err := c.Karve("why", "typo")
	require.NoError(t, err, told)
	require.Equal(t, "deploy/typo: nothing is wrong: 2 of 2 pods are ready\n", told)
	c.Kubectl("patch", "pod", "held", "-p", `{"metadata":{"finalizers":null}}`)
}
