package integration

import (
	"regexp"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"

	"karve.dev/karve/integration/cluster"
)

// TestLimitsAsKubectlShowsThem sets bounds to a namespace and reads what kubectl says of them, and of what leaves them.
func TestLimitsAsKubectlShowsThem(t *testing.T) {
	c := cluster.Start(t)
	spaces := regexp.MustCompile(` +`)
	lines := func(out string) string { return spaces.ReplaceAllString(out, " ") }

	t.Run("quota", func(t *testing.T) {
		c.Kubectl("create", "namespace", "bounded")
		c.Kubectl("create", "quota", "team", "-n", "bounded", "--hard=pods=2,requests.cpu=200m,count/configmaps=5")
		c.Kubectl("create", "quota", "besteffort", "-n", "bounded", "--hard=pods=1", "--scopes=BestEffort")
		c.Kubectl("create", "deployment", "web", "-n", "bounded", "--image=my-app", "--replicas=5")
		c.Eventually("the ReplicaSet says that its pods need requests", func() string {
			if out := c.Kubectl("describe", "rs", "-n", "bounded"); !strings.Contains(out, "is forbidden: failed quota: team: must specify requests.cpu for: my-app") {
				return out
			}
			return ""
		})
		c.Kubectl("set", "resources", "deployment", "web", "-n", "bounded", "--requests=cpu=100m")
		c.Eventually("as many pods run as may", func() string {
			if out := c.Kubectl("describe", "quota", "team", "-n", "bounded"); !strings.Contains(lines(out), "pods 2 2\n") {
				return out
			}
			return ""
		})
		out := lines(c.Kubectl("describe", "quota", "-n", "bounded"))
		require.Contains(t, out, "Name: team\nNamespace: bounded\nResource Used Hard\n-------- ---- ----\ncount/configmaps 1 5\npods 2 2\nrequests.cpu 200m 200m\n")
		require.Contains(t, out, "Name: besteffort\nNamespace: bounded\nScopes: BestEffort\n * Matches all pods that do not have resource requirements set.")
		require.Contains(t, lines(c.Kubectl("get", "quota", "team", "-n", "bounded", "--no-headers")), "team count/configmaps: 1/5, pods: 2/2, requests.cpu: 200m/200m ")
		require.Contains(t, c.Kubectl("describe", "rs", "-n", "bounded"), "is forbidden: exceeded quota: team, requested: pods=1,requests.cpu=100m, used: pods=2,requests.cpu=200m, limited: pods=2,requests.cpu=200m")
		refused := c.KubectlFails("apiVersion: v1\nkind: Pod\nmetadata: {name: more, namespace: bounded}\nspec:\n  containers: [{name: c, image: my-app, resources: {requests: {cpu: 1m}}}]\n", "create", "-f", "-")
		require.Contains(t, refused, `Error from server (Forbidden): error when creating "STDIN": pods "more" is forbidden: exceeded quota: team, requested: pods=1,requests.cpu=1m, used: pods=2,requests.cpu=200m, limited: pods=2,requests.cpu=200m`)

		c.Kubectl("scale", "deployment", "web", "-n", "bounded", "--replicas=0")
		c.Eventually("what is gone is given back", func() string {
			if out := lines(c.Kubectl("describe", "quota", "team", "-n", "bounded")); !strings.Contains(out, "pods 0 2\nrequests.cpu 0 200m\n") {
				return out
			}
			return ""
		})
	})

	t.Run("limit range", func(t *testing.T) {
		c.Kubectl("create", "namespace", "ranged")
		c.Apply("apiVersion: v1\nkind: LimitRange\nmetadata: {name: mem, namespace: ranged}\nspec:\n  limits: [{type: Container, default: {memory: 64Mi}, defaultRequest: {memory: 32Mi}, max: {memory: 128Mi}}]\n")
		require.Contains(t, lines(c.Kubectl("describe", "limits", "-n", "ranged")), "Container memory - 128Mi 32Mi 64Mi -")
		c.Kubectl("run", "plain", "-n", "ranged", "--image=my-app")
		require.Equal(t, "32Mi 64Mi", c.Kubectl("get", "pod", "plain", "-n", "ranged", "-o", "jsonpath={.spec.containers[0].resources.requests.memory} {.spec.containers[0].resources.limits.memory}"))
		require.Contains(t, c.Kubectl("get", "pod", "plain", "-n", "ranged", "-o", "jsonpath={.metadata.annotations}"), "LimitRanger plugin set: memory request for container plain; memory limit for container plain")
		require.Contains(t, c.KubectlFails("", "run", "large", "-n", "ranged", "--image=my-app", `--overrides={"spec":{"containers":[{"name":"large","image":"my-app","resources":{"limits":{"memory":"1Gi"}}}]}}`),
			`Error from server (Forbidden): pods "large" is forbidden: maximum memory usage per Container is 128Mi, but limit is 1Gi`)
	})

	t.Run("pod security", func(t *testing.T) {
		c.Kubectl("create", "namespace", "strict")
		c.Kubectl("run", "before", "-n", "strict", "--image=my-app")
		out, err := c.TryKubectl("", "label", "namespace", "strict", "pod-security.kubernetes.io/enforce=restricted")
		require.NoError(t, err, out)
		require.Contains(t, out, `Warning: existing pods in namespace "strict" violate the new PodSecurity enforce level "restricted:latest"`)
		require.Contains(t, out, "Warning: before: allowPrivilegeEscalation != false, unrestricted capabilities, runAsNonRoot != true, seccompProfile")
		require.Contains(t, c.KubectlFails("", "run", "after", "-n", "strict", "--image=my-app"),
			`Error from server (Forbidden): pods "after" is forbidden: violates PodSecurity "restricted:latest": allowPrivilegeEscalation != false (container "after" must set securityContext.allowPrivilegeEscalation=false)`)
		out, err = c.TryKubectl("", "create", "deployment", "web", "-n", "strict", "--image=my-app")
		require.NoError(t, err, out)
		require.Contains(t, out, `Warning: would violate PodSecurity "restricted:latest": allowPrivilegeEscalation != false (container "my-app" must set`)
		c.Eventually("the ReplicaSet says why there is no pod", func() string {
			if out := c.Kubectl("describe", "rs", "-n", "strict"); !strings.Contains(out, `is forbidden: violates PodSecurity "restricted:latest"`) {
				return out
			}
			return ""
		})
		require.Contains(t, c.KubectlFails("", "label", "namespace", "strict", "--overwrite", "pod-security.kubernetes.io/enforce=strict"),
			`The Namespace "strict" is invalid: metadata.labels[pod-security.kubernetes.io/enforce]: Invalid value: "strict": must be one of privileged, baseline, restricted`)
	})
}
