package replication

import (
	"context"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"
	"k8s.io/client-go/tools/clientcmd"
	clientcmdapi "k8s.io/client-go/tools/clientcmd/api"

	"karve.dev/karve/internal/identity"
	"karve.dev/karve/services/api/apitest"
	"karve.dev/karve/services/gateway"
)

// kubectl returns a function that runs the machine's kubectl against the cluster and returns what it prints.
func (c *cluster) kubectl() func(args string, stdin ...string) string {
	c.Helper()
	if _, err := exec.LookPath("kubectl"); err != nil {
		c.Skip("no kubectl on this machine")
	}
	lis, err := net.Listen("tcp", "127.0.0.1:0")
	require.NoError(c.T, err)
	g, err := gateway.New(gateway.Config{
		API: c.api.Conn(identity.User{Name: identity.UserGateway}),
		TLS: c.api.Identity.ServerTLS(identity.Spec{CommonName: "karve-gateway", IPs: []net.IP{net.IPv4(127, 0, 0, 1)}}),
	})
	require.NoError(c.T, err)
	ctx, cancel := context.WithCancel(context.Background())
	done := make(chan error, 1)
	go func() { done <- g.Serve(ctx, lis) }()
	c.Cleanup(func() { cancel(); require.NoError(c.T, <-done) })
	home, config := c.TempDir(), c.kubeconfig("https://"+lis.Addr().String())
	return func(args string, stdin ...string) string {
		c.Helper()
		cmd := exec.CommandContext(ctx, "kubectl", strings.Fields(args)...)
		cmd.Env = append(os.Environ(), "KUBECONFIG="+config, "HOME="+home)
		cmd.Stdin = strings.NewReader(strings.Join(stdin, ""))
		out, err := cmd.CombinedOutput()
		require.NoError(c.T, err, "kubectl %s: %s", args, out)
		return string(out)
	}
}

func (c *cluster) kubeconfig(url string) string {
	c.Helper()
	admin, err := c.api.Identity.Issue(identity.ClientSpec(apitest.Admin))
	require.NoError(c.T, err)
	cfg := clientcmdapi.NewConfig()
	cfg.Clusters["test"] = &clientcmdapi.Cluster{Server: url, CertificateAuthorityData: c.api.Identity.CAPEM()}
	cfg.AuthInfos["admin"] = &clientcmdapi.AuthInfo{ClientCertificateData: admin.CertPEM, ClientKeyData: admin.KeyPEM}
	cfg.Contexts["test"] = &clientcmdapi.Context{Cluster: "test", AuthInfo: "admin"}
	cfg.CurrentContext = "test"
	path := filepath.Join(c.TempDir(), "kubeconfig")
	require.NoError(c.T, clientcmd.WriteToFile(*cfg, path))
	return path
}

func TestKubectlRollsOut(t *testing.T) {
	c := start(t)
	kubectl := c.kubectl()
	d := workload("my-app", 3)
	d.Annotations = map[string]string{"kubernetes.io/change-cause": "first"}
	require.NoError(t, c.Create(t.Context(), d))
	done := func() {
		t.Helper()
		require.Contains(t, kubectl("rollout status deployment/my-app --timeout=20s"), "successfully rolled out")
	}
	done()
	kubectl("set image deployment/my-app app=two")
	kubectl("annotate deployment/my-app kubernetes.io/change-cause=second --overwrite")
	done()
	require.Regexp(t, `1 +first\n2 +second\n`, kubectl("rollout history deployment/my-app"))
	kubectl("rollout undo deployment/my-app")
	done()
	require.Regexp(t, `2 +second\n3 +first\n`, kubectl("rollout history deployment/my-app"))
	require.Contains(t, kubectl("rollout history deployment/my-app --revision=3"), "one")

	kubectl("rollout pause deployment/my-app")
	kubectl("set image deployment/my-app app=three")
	kubectl("scale deployment/my-app --replicas=5")
	kubectl("wait deployment/my-app --for=jsonpath={.status.availableReplicas}=5 --timeout=20s")
	require.NotContains(t, kubectl("get pods -o jsonpath={..image}"), "three")
	kubectl("rollout resume deployment/my-app")
	done()
	kubectl("rollout restart deployment/my-app")
	done()
	text := kubectl("describe deployment my-app")
	require.Contains(t, text, "5 desired | 5 updated | 5 total | 5 available | 0 unavailable")
	require.Regexp(t, `Available +True +MinimumReplicasAvailable`, text)
	require.Regexp(t, `Progressing +True +NewReplicaSetAvailable`, text)
	require.Regexp(t, `NewReplicaSet: +my-app-[a-z0-9]+ \(5/5 replicas created\)`, text)
	require.Regexp(t, `Normal +ScalingReplicaSet .* deployment-controller +Scaled up replica set my-app-[a-z0-9]+ from 0 to 3`, text)
	require.Regexp(t, `deployment.apps/my-app +5/5 +5 +5`, kubectl("get deploy,rs"))
}
