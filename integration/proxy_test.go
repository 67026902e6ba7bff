package integration

import (
	"bufio"
	"bytes"
	"context"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/x509"
	"encoding/base64"
	"encoding/pem"
	"fmt"
	"io"
	"math/big"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
	"golang.org/x/net/websocket"

	"karve.dev/karve/integration/cluster"
)

// extensionImage is what buildExtension makes.
const extensionImage = "karve-test-extension:latest"

// buildExtension makes the image of testdata/extension on the engine.
func buildExtension(t *testing.T) {
	t.Helper()
	dir := t.TempDir()
	build := exec.Command("go", "build", "-o", filepath.Join(dir, "extension"), "./testdata/extension")
	build.Env = append(os.Environ(), "CGO_ENABLED=0")
	out, err := build.CombinedOutput()
	require.NoError(t, err, "%s", out)
	load := exec.Command("sh", "-c", `tar -c -C "$1" extension | docker import --change 'ENTRYPOINT ["/extension"]' - "$2"`, "sh", dir, extensionImage)
	out, err = load.CombinedOutput()
	require.NoError(t, err, "%s", out)
	t.Cleanup(func() { _ = exec.Command("docker", "rmi", extensionImage).Run() })
}

// selfSigned makes a certificate for a name and its key, in PEM and base64.
func selfSigned(t *testing.T, name string) (cert, key string) {
	t.Helper()
	private, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	require.NoError(t, err)
	template := &x509.Certificate{
		SerialNumber: big.NewInt(1), DNSNames: []string{name}, NotBefore: time.Now().Add(-time.Hour), NotAfter: time.Now().Add(time.Hour),
		IsCA: true, BasicConstraintsValid: true, KeyUsage: x509.KeyUsageDigitalSignature | x509.KeyUsageCertSign, ExtKeyUsage: []x509.ExtKeyUsage{x509.ExtKeyUsageServerAuth},
	}
	der, err := x509.CreateCertificate(rand.Reader, template, template, private.Public(), private)
	require.NoError(t, err)
	secret, err := x509.MarshalECPrivateKey(private)
	require.NoError(t, err)
	in := func(kind string, data []byte) string {
		return base64.StdEncoding.EncodeToString(pem.EncodeToMemory(&pem.Block{Type: kind, Bytes: data}))
	}
	return in("CERTIFICATE", der), in("EC PRIVATE KEY", secret)
}

const extensionManifest = `
apiVersion: v1
kind: Secret
metadata: {name: extension, namespace: kube-system}
type: kubernetes.io/tls
data: {tls.crt: %[1]s, tls.key: %[2]s}
---
apiVersion: v1
kind: Pod
metadata: {name: extension, namespace: kube-system, labels: {app: extension}}
spec:
  terminationGracePeriodSeconds: 1
  containers:
  - name: extension
    image: %[3]s
    imagePullPolicy: IfNotPresent
    ports: [{containerPort: 8080}]
    readinessProbe: {httpGet: {path: /healthz, port: 8443, scheme: HTTPS}, periodSeconds: 1}
    volumeMounts: [{name: tls, mountPath: /tls}, {name: front-proxy, mountPath: /front-proxy}]
  volumes:
  - {name: tls, secret: {secretName: extension}}
  - {name: front-proxy, configMap: {name: extension-apiserver-authentication}}
---
apiVersion: v1
kind: Service
metadata: {name: extension, namespace: kube-system}
spec: {selector: {app: extension}, ports: [{name: http, port: 80, targetPort: 8080}, {name: https, port: 443, targetPort: 8443}]}
`

const extensionService = `
apiVersion: apiregistration.k8s.io/v1
kind: APIService
metadata: {name: v1.garden.test}
spec: {group: garden.test, version: v1, groupPriorityMinimum: 1000, versionPriority: 10, service: {namespace: kube-system, name: extension}, caBundle: %s}
`

// TestProxyAndAggregation reaches a pod in all the ways that lead through the API, and makes its API part of the cluster's.
func TestProxyAndAggregation(t *testing.T) {
	buildExtension(t)
	c := cluster.Start(t)
	cert, key := selfSigned(t, "extension.kube-system.svc")
	c.Apply(fmt.Sprintf(extensionManifest, cert, key, extensionImage))
	c.Kubectl("wait", "--for=condition=Ready", "-n", "kube-system", "pod/extension", "--timeout=60s")

	const pod, service = "/api/v1/namespaces/kube-system/pods/extension/proxy", "/api/v1/namespaces/kube-system/services/http:extension:http/proxy"
	t.Run("raw paths", func(t *testing.T) {
		require.Equal(t, "GET /where?x=1  for "+pod+"/where\n", c.Kubectl("get", "--raw", pod+"/where?x=1"))
		c.Eventually("the Service has its endpoint", func() string {
			out, err := c.TryKubectl("", "get", "--raw", service+"/there")
			if err == nil && out == "GET /there  for "+service+"/there\n" {
				return ""
			}
			return out
		})
		require.Equal(t, "ok\n", c.Kubectl("get", "--raw", "/api/v1/namespaces/kube-system/services/https:extension:https/proxy/healthz"))
		require.Contains(t, c.KubectlFails("", "get", "--raw", "/api/v1/namespaces/kube-system/pods/extension:9/proxy/"), "connection refused")
		node := c.Kubectl("get", "nodes", "-o", "jsonpath={.items[0].metadata.name}")
		require.Equal(t, "ok", c.Kubectl("get", "--raw", "/api/v1/nodes/"+node+"/proxy/healthz"))
		require.Contains(t, c.Kubectl("get", "--raw", "/api/v1/nodes/"+node+"/proxy/metrics"), "# TYPE ")
	})
	t.Run("kubectl proxy", func(t *testing.T) { throughKubectlProxy(t, c, service) })
	t.Run("another server's API", func(t *testing.T) {
		c.Apply(fmt.Sprintf(extensionService, cert))
		c.Kubectl("wait", "--for=condition=Available", "apiservice/v1.garden.test", "--timeout=30s")
		require.Regexp(t, `(?m)^NAME +AGE\nrose `, c.Kubectl("get", "fl"))
		require.Equal(t, "kubernetes-admin", c.Kubectl("get", "flowers", "-o", `jsonpath={.items[0].metadata.annotations.seen-by}`))
		require.Contains(t, c.Kubectl("api-resources", "--api-group=garden.test"), "flowers")
		require.Regexp(t, `(?m)^v1\.apps +Local +True .*\n(.*\n)*v1\.garden\.test +kube-system/extension +True `, c.Kubectl("get", "apiservices"))

		c.Kubectl("delete", "pod", "-n", "kube-system", "extension", "--wait=false")
		c.Eventually("the API is told to be unavailable", func() string {
			out := c.Kubectl("get", "apiservice", "v1.garden.test", "--no-headers")
			if strings.Contains(out, "False (MissingEndpoints)") {
				return ""
			}
			return out
		})
		require.Contains(t, c.KubectlFails("", "get", "flowers"), "the server is currently unable to handle the request")
		c.Kubectl("get", "pods") // the rest goes on
		c.Kubectl("delete", "apiservice", "v1.garden.test")
	})
	t.Run("component statuses", func(t *testing.T) {
		out := c.Kubectl("get", "cs")
		for _, name := range []string{"scheduler", "controller-manager", "etcd-0"} {
			require.Regexp(t, `(?m)^`+name+` +Healthy +ok`, out)
		}
	})
}

// throughKubectlProxy follows a redirect and talks over a WebSocket, as a browser would.
func throughKubectlProxy(t *testing.T, c *cluster.Cluster, service string) {
	ctx, cancel := context.WithCancel(t.Context())
	defer cancel()
	run := cluster.Stock(t)
	cmd := exec.CommandContext(ctx, run[0], append(run[1:], "--kubeconfig", c.Kubeconfig(), "proxy", "--port=0")...)
	out, err := cmd.StdoutPipe()
	require.NoError(t, err)
	var stderr bytes.Buffer
	cmd.Stderr = &stderr
	require.NoError(t, cmd.Start())
	defer func() { cancel(); _ = cmd.Wait() }()
	line, err := bufio.NewReader(out).ReadString('\n')
	require.NoError(t, err, stderr.String())
	address := strings.TrimSpace(strings.TrimPrefix(line, "Starting to serve on "))

	res, err := http.Post("http://"+address+service+"/form", "text/plain", strings.NewReader("text"))
	require.NoError(t, err)
	body, err := io.ReadAll(res.Body)
	require.NoError(t, err)
	require.Equal(t, "POST /form text for "+service+"/form\n", string(body))
	res, err = http.Get("http://" + address + service + "/old")
	require.NoError(t, err)
	body, err = io.ReadAll(res.Body)
	require.NoError(t, err)
	require.Equal(t, "GET /new  for "+service+"/new\n", string(body))

	conn, err := websocket.Dial("ws://"+address+service+"/echo", "", "http://"+address)
	require.NoError(t, err)
	defer conn.Close()
	for i := range 3 {
		text := fmt.Sprintf("message %d", i)
		require.NoError(t, websocket.Message.Send(conn, text))
		var back string
		require.NoError(t, websocket.Message.Receive(conn, &back))
		require.Equal(t, text, back)
	}
}
