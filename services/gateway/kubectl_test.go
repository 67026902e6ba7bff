package gateway_test

import (
	"bufio"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"
	"k8s.io/client-go/tools/clientcmd"
	clientcmdapi "k8s.io/client-go/tools/clientcmd/api"

	"karve.dev/karve/services/api"
	"karve.dev/karve/services/api/apitest"
	"karve.dev/karve/services/api/openapi"
)

// kubeconfig writes the administrator's kubeconfig and returns its path.
func (w *world) kubeconfig(t testing.TB) string {
	t.Helper()
	cert, key := w.keys.adminPEM()
	cfg := clientcmdapi.NewConfig()
	cfg.Clusters["test"] = &clientcmdapi.Cluster{Server: w.url, CertificateAuthorityData: w.keys.cluster.CAPEM()}
	cfg.AuthInfos["admin"] = &clientcmdapi.AuthInfo{ClientCertificateData: cert, ClientKeyData: key}
	cfg.Contexts["test"] = &clientcmdapi.Context{Cluster: "test", AuthInfo: "admin"}
	cfg.CurrentContext = "test"
	path := filepath.Join(t.TempDir(), "kubeconfig")
	require.NoError(t, clientcmd.WriteToFile(*cfg, path))
	require.NoError(t, os.Chmod(path, 0o600))
	return path
}

// cluster is a gateway in front of a real API service.
func cluster(t testing.TB) *world {
	t.Helper()
	c := apitest.Start(t, func(c *api.Config) { c.OpenAPI = openapi.Document })
	w := &world{keys: pkiOf(t, c.Identity)}
	w.url = serve(t, c.Server, w.keys)
	w.http = w.keys.httpClient(t, true, true)
	return w
}

// kubectl runs the machine's kubectl with a cache of its own.
type kubectl struct {
	t                *testing.T
	kubeconfig, home string
}

func (w *world) kubectl(t *testing.T) *kubectl {
	return &kubectl{t: t, kubeconfig: w.kubeconfig(t), home: t.TempDir()}
}

func (k *kubectl) command(args string) *exec.Cmd {
	cmd := exec.Command("kubectl", strings.Fields(args)...)
	cmd.Env = append(os.Environ(), "KUBECONFIG="+k.kubeconfig, "HOME="+k.home, "KUBECACHEDIR="+k.home)
	return cmd
}

// run expects success and returns what was printed.
func (k *kubectl) run(args string, stdin ...string) string {
	k.t.Helper()
	cmd := k.command(args)
	cmd.Stdin = strings.NewReader(strings.Join(stdin, ""))
	out, err := cmd.CombinedOutput()
	require.NoError(k.t, err, "kubectl %s: %s", args, out)
	return string(out)
}

// fails expects a failure and returns what was printed.
func (k *kubectl) fails(args string, stdin ...string) string {
	k.t.Helper()
	cmd := k.command(args)
	cmd.Stdin = strings.NewReader(strings.Join(stdin, ""))
	out, err := cmd.CombinedOutput()
	require.Error(k.t, err, "kubectl %s: %s", args, out)
	return string(out)
}

const deployment = `
apiVersion: apps/v1
kind: Deployment
metadata:
  name: my-app
spec:
  replicas: 3
  selector: {matchLabels: {app: my-app}}
  template:
    metadata: {labels: {app: my-app}}
    spec:
      containers:
      - name: app
        image: my-app:latest
        ports: [{containerPort: 8080}]
---
apiVersion: v1
kind: Service
metadata:
  name: my-service
spec:
  selector: {app: my-app}
  ports: [{port: 80, targetPort: 8080}]
`

func TestKubectlEveryday(t *testing.T) {
	k := cluster(t).kubectl(t)
	require.Contains(t, k.run("version"), "Server Version: v1.37")
	require.Contains(t, k.run("apply -f -", deployment), "deployment.apps/my-app created\nservice/my-service created")
	require.Contains(t, k.run("apply -f -", deployment), "deployment.apps/my-app unchanged\nservice/my-service unchanged")
	require.Regexp(t, `my-app +0/3 +0 +0 `, k.run("get deploy"))
	require.Regexp(t, `my-service +ClusterIP +\S+ +<none> +80/TCP`, k.run("get svc,deploy -A"))
	require.Equal(t, "3", k.run("get deploy my-app -o jsonpath={.spec.replicas}"))
	require.Contains(t, k.run("get deploy my-app -o yaml"), "image: my-app:latest")
	require.Contains(t, k.run("describe deploy my-app"), "StrategyType:           RollingUpdate")

	k.run("scale deploy my-app --replicas=5")
	require.Equal(t, "5", k.run("get deploy my-app -o jsonpath={.spec.replicas}"))
	k.run(`patch deploy my-app -p {"spec":{"replicas":2}}`)
	k.run(`patch deploy my-app --type=json -p [{"op":"replace","path":"/spec/paused","value":true}]`)
	k.run("label deploy my-app tier=web")
	k.run("annotate deploy my-app note=x")
	require.Contains(t, k.run("get deploy -l tier=web --show-labels"), "tier=web")
	k.run("set image deploy/my-app app=my-app:v2")
	require.Equal(t, "my-app:v2", k.run("get deploy my-app -o jsonpath={.spec.template.spec.containers[0].image}"))
	require.Contains(t, k.run("create configmap settings --from-literal=a=b"), "configmap/settings created")
	require.Contains(t, k.fails("create configmap settings"), `configmaps "settings" already exists`)
	require.Contains(t, k.run("run once --image=my-app --restart=Never"), "pod/once created")
	require.Contains(t, k.run("get pods --field-selector status.phase=Pending"), "once")
	require.Contains(t, k.run("delete configmap settings"), `configmap "settings" deleted`)
	require.Contains(t, k.run("delete -f -", deployment), `service "my-service" deleted`)
	require.Contains(t, k.fails("get deploy my-app"), `deployments.apps "my-app" not found`)
}

func TestKubectlDiffsAndValidates(t *testing.T) {
	k := cluster(t).kubectl(t)
	k.run("apply -f -", deployment)
	require.Contains(t, k.fails("diff -f -", strings.Replace(deployment, "replicas: 3", "replicas: 4", 1)), "+  replicas: 4")
	require.Contains(t, k.fails("apply -f -", strings.Replace(deployment, "replicas", "replicaz", 1)), `unknown field "spec.replicaz"`)
	require.Contains(t, k.fails("apply -f -", strings.Replace(deployment, "replicas: 3", "replicas: -1", 1)), "spec.replicas: Invalid value: -1: must be greater than or equal to 0")
	require.Contains(t, k.run("create -f - --dry-run=server", strings.ReplaceAll(deployment, "name: my-", "name: your-")), "deployment.apps/your-app created (server dry run)")
	require.Contains(t, k.fails("get deploy your-app"), "not found")
}

func TestKubectlDiscovers(t *testing.T) {
	k := cluster(t).kubectl(t)
	resources := k.run("api-resources")
	require.Regexp(t, `pods +po +v1 +true +Pod`, resources)
	require.Regexp(t, `deployments +deploy +apps/v1 +true +Deployment`, resources)
	require.Contains(t, k.run("api-versions"), "apps/v1\n")
	require.Contains(t, k.run("get --raw /readyz"), "ok")
	require.Contains(t, k.run("get --raw /readyz?verbose"), "readyz check passed")
	require.Contains(t, k.run("get --raw /metrics"), "apiserver_request_total")
	require.Equal(t, "yes\n", k.run("auth can-i create pods"))
}

func TestKubectlExplains(t *testing.T) {
	k := cluster(t).kubectl(t)
	require.Contains(t, k.run("explain pod.spec.containers"), "FIELD: containers <[]Container>")
	require.Contains(t, k.run("explain deployment --recursive"), "replicas")
}

func TestKubectlWatches(t *testing.T) {
	k := cluster(t).kubectl(t)
	cmd := k.command("get configmaps --watch -o name")
	out, err := cmd.StdoutPipe()
	require.NoError(t, err)
	require.NoError(t, cmd.Start())
	t.Cleanup(func() { _ = cmd.Process.Kill(); _ = cmd.Wait() })
	k.run("create configmap one")
	lines := bufio.NewScanner(out)
	require.True(t, lines.Scan())
	require.Equal(t, "configmap/one", lines.Text())
	k.run("delete configmap one")
	require.True(t, lines.Scan())
	require.Contains(t, lines.Text(), "configmap/one")
	require.Contains(t, k.run("create configmap two")+k.run("wait --for=jsonpath={.metadata.name}=two configmap/two --timeout=10s"), "condition met")
}

func TestKubectlAsSomebodyElse(t *testing.T) {
	w := cluster(t)
	k := w.kubectl(t)
	require.Contains(t, k.fails("get pods --as jane"), `pods is forbidden: User "jane" cannot list resource "pods" in API group "" in the namespace "default"`)
	require.Contains(t, k.fails("get --raw /metrics --as jane"), "forbidden")
	require.Contains(t, k.run("get pods --as jane --as-group system:masters"), "No resources found")

	w.http = w.keys.httpClient(t, false, true)
	res, body := w.do(t, "GET", "/readyz", "")
	require.Equal(t, 200, res.StatusCode, body)
	res, body = w.do(t, "GET", "/api/v1/pods", "")
	require.Contains(t, []int{401, 403}, res.StatusCode, "who shows no credentials sees nothing: %s", body)
	res, body = w.do(t, "GET", "/api/v1/pods", "", "Authorization: Bearer nonsense")
	require.Equal(t, 401, res.StatusCode, body)
}
