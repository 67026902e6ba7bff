package integration

import (
	"encoding/base64"
	"encoding/json"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"
	admissionv1 "k8s.io/api/admission/v1"

	"karve.dev/karve/integration/cluster"
	"karve.dev/karve/services/api/webhook/webhooktest"
)

const hookPod = `
apiVersion: v1
kind: Secret
metadata: {name: hook-certs}
type: kubernetes.io/tls
data: {tls.crt: CERT, tls.key: KEY}
---
apiVersion: v1
kind: Pod
metadata: {name: hook, labels: {app: hook}}
spec:
  containers:
  - {name: hook, image: IMAGE, imagePullPolicy: Never, volumeMounts: [{name: certs, mountPath: /certs}], readinessProbe: {tcpSocket: {port: 8443}, periodSeconds: 1}}
  volumes: [{name: certs, secret: {secretName: hook-certs}}]
---
apiVersion: v1
kind: Service
metadata: {name: hook}
spec: {selector: {app: hook}, ports: [{port: 443, targetPort: 8443}]}
`

const hookConfigurations = `
apiVersion: admissionregistration.k8s.io/v1
kind: ValidatingWebhookConfiguration
metadata: {name: in-a-pod}
webhooks:
- name: pod.example.com
  clientConfig: {caBundle: CA, service: {namespace: default, name: hook, path: /validate}}
  rules: [{apiGroups: [""], apiVersions: [v1], operations: [CREATE, UPDATE], resources: [configmaps]}]
  namespaceSelector: {matchLabels: {kubernetes.io/metadata.name: default}}
  sideEffects: None
  admissionReviewVersions: [v1]
---
apiVersion: admissionregistration.k8s.io/v1
kind: MutatingWebhookConfiguration
metadata: {name: at-a-url}
webhooks:
- name: url.example.com
  clientConfig: {caBundle: URLCA, url: "URL/mutate"}
  rules: [{apiGroups: [""], apiVersions: [v1], operations: [CREATE], resources: [configmaps]}]
  sideEffects: None
  admissionReviewVersions: [v1]
`

const policies = `
apiVersion: admissionregistration.k8s.io/v1
kind: ValidatingAdmissionPolicy
metadata: {name: few-replicas}
spec:
  paramKind: {apiVersion: v1, kind: ConfigMap}
  matchConstraints: {resourceRules: [{apiGroups: [apps], apiVersions: [v1], operations: [CREATE, UPDATE], resources: [deployments, deployments/scale]}]}
  validations: [{expression: "object.spec.replicas <= int(params.data.max)", messageExpression: "'at most ' + params.data.max + ' replicas'"}]
---
apiVersion: admissionregistration.k8s.io/v1
kind: ValidatingAdmissionPolicyBinding
metadata: {name: few-replicas}
spec: {policyName: few-replicas, validationActions: [Deny], paramRef: {name: replicas, namespace: default, parameterNotFoundAction: Deny}}
---
apiVersion: admissionregistration.k8s.io/v1
kind: MutatingAdmissionPolicy
metadata: {name: team}
spec:
  matchConstraints: {resourceRules: [{apiGroups: [apps], apiVersions: [v1], operations: [CREATE], resources: [deployments]}]}
  reinvocationPolicy: Never
  mutations:
  - {patchType: ApplyConfiguration, applyConfiguration: {expression: 'Object{metadata: Object.metadata{labels: {"team": "blue"}}}'}}
---
apiVersion: admissionregistration.k8s.io/v1
kind: MutatingAdmissionPolicyBinding
metadata: {name: team}
spec: {policyName: team}
`

// hookImage builds the test webhook into an image of the engine.
func hookImage(t *testing.T, c *cluster.Cluster) string {
	dir, image := t.TempDir(), "karve-test-hook:"+c.Name
	build := exec.Command("go", "build", "-o", filepath.Join(dir, "hook"), "./integration/hook")
	build.Dir, build.Env = cluster.Root(t), append(os.Environ(), "CGO_ENABLED=0")
	out, err := build.CombinedOutput()
	require.NoError(t, err, string(out))
	require.NoError(t, os.WriteFile(filepath.Join(dir, "Dockerfile"), []byte("FROM scratch\nCOPY hook /hook\nENTRYPOINT [\"/hook\"]\n"), 0o600))
	c.Docker("build", "--quiet", "--tag", image, dir)
	t.Cleanup(func() { _ = exec.Command("docker", "rmi", "--force", image).Run() })
	return image
}

// TestAdmissionThatUsersSetUp has webhooks in a pod and at a URL, and policies, and sees with kubectl what they do.
func TestAdmissionThatUsersSetUp(t *testing.T) {
	c := cluster.Start(t)
	image := hookImage(t, c)
	t.Run("webhooks", func(t *testing.T) {
		ca, cert, key := webhooktest.Certify(t, "hook.default.svc")
		atURL := webhooktest.Start(t, webhooktest.Admission(func(_ string, r *admissionv1.AdmissionRequest) *admissionv1.AdmissionResponse {
			patch, _ := json.Marshal([]any{map[string]any{"op": "add", "path": "/data", "value": map[string]string{"by": r.UserInfo.Username}}})
			kind := admissionv1.PatchTypeJSONPatch
			return &admissionv1.AdmissionResponse{Allowed: true, Patch: patch, PatchType: &kind}
		}))
		b64 := base64.StdEncoding.EncodeToString
		values := strings.NewReplacer("IMAGE", image, "CERT", b64(cert), "KEY", b64(key), "URLCA", b64(atURL.CA), "CA", b64(ca), "URL", atURL.URL)
		c.Apply(values.Replace(hookPod))
		c.Kubectl("wait", "--for=condition=Ready", "pod/hook", "--timeout=60s")
		c.Apply(values.Replace(hookConfigurations))
		c.Eventually("the webhook's endpoint is known", func() string {
			out, err := c.TryKubectl("", "create", "configmap", "first", "--from-literal=a=b")
			if err == nil {
				return ""
			}
			return out
		})
		require.Equal(t, "kubernetes-admin", c.Kubectl("get", "configmap", "first", "-o", "jsonpath={.data.by}"))
		refused := c.KubectlFails("apiVersion: v1\nkind: ConfigMap\nmetadata: {name: x, labels: {refuse: so}}\n", "create", "-f", "-")
		require.Contains(t, refused, `Error from server (Forbidden): error when creating "STDIN": admission webhook "pod.example.com" denied the request: it is labelled so`)
		out := c.Kubectl("label", "configmap", "first", "refused=not")
		require.Contains(t, out, "Warning: seen by the pod")
		require.Contains(t, c.KubectlFails("", "label", "configmap", "first", "refuse=me"), "it is labelled me")
		c.Kubectl("delete", "pod", "hook")
		require.Contains(t, c.KubectlFails("", "create", "configmap", "second"), `Internal error occurred: failed calling webhook "pod.example.com": failed to call webhook: Post "https://hook.default.svc:443/validate?timeout=10s": no endpoints available for service "hook"`)
		c.Kubectl("delete", "validatingwebhookconfigurations,mutatingwebhookconfigurations", "--all")
		c.Kubectl("create", "configmap", "second")
	})
	t.Run("policies", func(t *testing.T) {
		c.Apply(policies)
		require.Contains(t, c.KubectlFails("", "create", "deployment", "web", "--image=my-app", "--replicas=3"), "no params found for policy binding with `Deny` parameterNotFoundAction")
		c.Kubectl("create", "configmap", "replicas", "--from-literal=max=2")
		refused := c.KubectlFails("", "create", "deployment", "web", "--image=my-app", "--replicas=3")
		require.Contains(t, refused, `error: failed to create deployment: deployments.apps "web" is forbidden: ValidatingAdmissionPolicy 'few-replicas' with binding 'few-replicas' denied request: at most 2 replicas`)
		c.Kubectl("create", "deployment", "web", "--image=my-app", "--replicas=2")
		require.Equal(t, "blue", c.Kubectl("get", "deployment", "web", "-o", "jsonpath={.metadata.labels.team}"))
		require.Contains(t, c.KubectlFails("", "scale", "deployment", "web", "--replicas=3"), "at most 2 replicas")
		broken := c.KubectlFails(strings.Replace(policies, "object.spec.replicas <= int(params.data.max)", "object.spec.", 1), "apply", "-f", "-")
		require.Contains(t, broken, `spec.validations[0].expression: Invalid value: "object.spec.": compilation failed: ERROR: <input>:1:13: Syntax error`)
	})
}
