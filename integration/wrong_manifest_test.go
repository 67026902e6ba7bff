package integration

import (
	"crypto/tls"
	"io"
	"net/http"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"

	"karve.dev/karve/integration/cluster"
)

const deploymentHead = "apiVersion: apps/v1\nkind: Deployment\nmetadata: {name: wrong}\nspec:\n  selector: {matchLabels: {app: x}}\n"

// TestWrongManifests asks for what cannot be, and reads the reason and the field's path that Kubernetes gives.
func TestWrongManifests(t *testing.T) {
	c := cluster.Start(t)
	tests := []struct{ name, manifest, want string }{
		{
			"unknown field", "apiVersion: v1\nkind: Pod\nmetadata: {name: wrong}\nspec:\n  container: []\n  containers: [{name: c, image: x}]\n",
			`strict decoding error: unknown field "spec.container"`,
		},
		{
			"missing image", deploymentHead + "  template: {metadata: {labels: {app: x}}, spec: {containers: [{name: c}]}}\n",
			`The Deployment "wrong" is invalid: spec.template.spec.containers[0].image: Required value`,
		},
		{
			"negative replicas", deploymentHead + "  replicas: -1\n  template: {metadata: {labels: {app: x}}, spec: {containers: [{name: c, image: x}]}}\n",
			`The Deployment "wrong" is invalid: spec.replicas: Invalid value: -1: must be greater than or equal to 0`,
		},
		{
			"selector and labels differ", deploymentHead + "  template: {metadata: {labels: {app: other}}, spec: {containers: [{name: c, image: x}]}}\n",
			"spec.template.metadata.labels: Invalid value: {\"app\":\"other\"}: `selector` does not match template `labels`",
		},
		{
			"duplicate container name", "apiVersion: v1\nkind: Pod\nmetadata: {name: wrong}\nspec:\n  containers: [{name: c, image: x}, {name: c, image: x}]\n",
			`The Pod "wrong" is invalid: spec.containers[1].name: Duplicate value: "c"`,
		},
		{
			"no such namespace", "apiVersion: v1\nkind: ConfigMap\nmetadata: {name: wrong, namespace: nowhere}\n",
			`namespaces "nowhere" not found`,
		},
		{"no such kind", "apiVersion: v1\nkind: Pot\nmetadata: {name: wrong}\n", `no matches for kind "Pot" in version "v1"`},
		{"name with capitals", "apiVersion: v1\nkind: ConfigMap\nmetadata: {name: Wrong}\n", `metadata.name: Invalid value: "Wrong": a lowercase RFC 1123 subdomain must consist of`},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			out := c.KubectlFails(tt.manifest, "create", "-f", "-")
			require.Contains(t, out, tt.want)
			require.NotContains(t, out, "panic")
		})
	}
	t.Run("duplicate name", func(t *testing.T) {
		c.Kubectl("create", "configmap", "twice")
		require.Contains(t, c.KubectlFails("", "create", "configmap", "twice"), `configmaps "twice" already exists`)
	})
	t.Run("an image that is nowhere", func(t *testing.T) {
		c.Kubectl("run", "nowhere", "--image=no-such-image:1", "--image-pull-policy=Never")
		c.Eventually("the pod says so", func() string {
			if out := c.Kubectl("get", "pod", "nowhere", "--no-headers"); !strings.Contains(out, "ErrImageNeverPull") {
				return out
			}
			return ""
		})
		require.Contains(t, c.Kubectl("describe", "pod", "nowhere"), `Container image "no-such-image:1" is not present with pull policy of Never`)
	})
	t.Run("a pod that fits nowhere says why", func(t *testing.T) {
		c.Kubectl("run", "huge", "--image=my-app", `--overrides={"spec":{"containers":[{"name":"huge","image":"my-app","resources":{"requests":{"cpu":"1000"}}}]}}`)
		c.Eventually("the event is there", func() string {
			if out := c.Kubectl("describe", "pod", "huge"); !strings.Contains(out, "0/1 nodes are available: 1 Insufficient cpu.") {
				return out
			}
			return ""
		})
		out, err := c.Karve("why", "huge")
		require.NoError(t, err, out)
		require.Contains(t, out, "fits if the cpu request is at most")
	})
}

// TestCallersWithoutRights are refused, by the same words as in Kubernetes.
func TestCallersWithoutRights(t *testing.T) {
	c := cluster.Start(t)
	ask := func(token, path string) string {
		body, err := getAs(token, "https://"+c.Listen+path)
		require.NoError(t, err)
		return body
	}
	require.Contains(t, ask("", "/api/v1/pods"), `pods is forbidden: User \"system:anonymous\" cannot list resource \"pods\" in API group \"\" at the cluster scope`)
	require.Contains(t, ask("nonsense", "/api/v1/pods"), `"reason":"Unauthorized"`)
	c.Kubectl("create", "serviceaccount", "reader")
	token := strings.TrimSpace(c.Kubectl("create", "token", "reader"))
	require.Contains(t, ask(token, "/api/v1/namespaces/default/pods"), `User \"system:serviceaccount:default:reader\" cannot list resource \"pods\"`)
	c.Kubectl("create", "rolebinding", "reader", "--clusterrole=view", "--serviceaccount=default:reader")
	c.Eventually("the binding counts", func() string {
		if out := ask(token, "/api/v1/namespaces/default/pods"); !strings.Contains(out, `"kind":"PodList"`) {
			return out
		}
		return ""
	})
	require.Contains(t, ask(token, "/api/v1/namespaces/default/secrets"), "forbidden")
}

// getAs asks the API with a token; "" for nobody.
func getAs(token, url string) (string, error) {
	req, err := http.NewRequest(http.MethodGet, url, nil)
	if err != nil {
		return "", err
	}
	if token != "" {
		req.Header.Set("Authorization", "Bearer "+token)
	}
	client := http.Client{Timeout: cluster.Wait, Transport: &http.Transport{TLSClientConfig: &tls.Config{InsecureSkipVerify: true}}}
	res, err := client.Do(req)
	if err != nil {
		return "", err
	}
	defer res.Body.Close()
	body, err := io.ReadAll(res.Body)
	return string(body), err
}
