package node_test

import (
	"context"
	"encoding/json"
	"fmt"
	"net"
	"os"
	"os/exec"
	"os/signal"
	"syscall"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
	"go.uber.org/zap"
	corev1 "k8s.io/api/core/v1"

	"karve.dev/karve/agents/node"
	"karve.dev/karve/agents/node/runtime/docker"
	karveclient "karve.dev/karve/internal/client"
	"karve.dev/karve/internal/identity"
	"karve.dev/karve/internal/transport"
)

// agentProcess tells this program, in its environment, to be an agent and not a test.
const agentProcess = "KARVE_NODETEST_AGENT"

// agentSpec is what such an agent is.
type agentSpec struct {
	Cluster, DataDir, PKI, API, Engine string
	Verbose                            bool
}

func TestMain(m *testing.M) {
	if spec := os.Getenv(agentProcess); spec != "" {
		if err := runAgent(spec); err != nil {
			fmt.Fprintln(os.Stderr, err)
			os.Exit(1)
		}
		return
	}
	os.Exit(m.Run())
}

func runAgent(text string) error {
	var spec agentSpec
	if err := json.Unmarshal([]byte(text), &spec); err != nil {
		return err
	}
	ca, err := identity.LoadOrCreate(spec.PKI, identity.Options{Name: "test"})
	if err != nil {
		return err
	}
	user := identity.User{Name: identity.NodePrefix + nodeName, Groups: []string{identity.GroupNodes}}
	conn, err := transport.Dial(spec.API, ca.ClientTLS(user))
	if err != nil {
		return err
	}
	defer conn.Close()
	rt, err := docker.New(docker.Config{Host: spec.Engine, LostAfter: time.Second})
	if err != nil {
		return err
	}
	defer rt.Close()
	log := zap.NewNop()
	if spec.Verbose {
		log = zap.Must(zap.NewDevelopment())
	}
	agent, err := node.New(node.Config{
		Cluster: spec.Cluster, NodeName: nodeName, DataDir: spec.DataDir, Conn: conn, HealthConn: conn,
		Client: karveclient.New(conn, "kubelet"), Runtime: rt, Log: log, Events: nobody{},
		TLS: ca.ServerTLS(identity.Spec{CommonName: user.Name, DNSNames: []string{"localhost"}, Both: true}),
	})
	if err != nil {
		return err
	}
	ctx, stop := signal.NotifyContext(context.Background(), syscall.SIGTERM)
	defer stop()
	return agent.Run(ctx)
}

// nobody hears of events.
type nobody struct{}

func (nobody) Event(karveclient.Object, string, string, string, ...any)       {}
func (nobody) EventOn(corev1.ObjectReference, string, string, string, ...any) {}

// outside makes the world's agent a process of its own, which talks to the plane over the network and may be killed.
func (w *world) outside(engine string) {
	w.stop()
	lis, err := net.Listen("tcp", "127.0.0.1:0")
	require.NoError(w.t, err)
	ctx, cancel := context.WithCancel(context.Background())
	served := make(chan error, 1)
	go func() { served <- w.server.Serve(ctx, lis, w.tls) }()
	_, port, err := net.SplitHostPort(lis.Addr().String())
	require.NoError(w.t, err)
	spec, err := json.Marshal(agentSpec{Cluster: w.cluster, DataDir: w.dataDir, PKI: w.pki, API: "localhost:" + port, Engine: engine, Verbose: testing.Verbose()})
	require.NoError(w.t, err)
	var cmd *exec.Cmd
	w.kill = func() {
		_ = cmd.Process.Kill()
		_ = cmd.Wait()
	}
	w.restart = func() {
		cmd = exec.Command(os.Args[0])
		cmd.Env = append(os.Environ(), agentProcess+"="+string(spec))
		cmd.Stderr = os.Stderr
		require.NoError(w.t, cmd.Start())
	}
	w.stop = func() {
		w.kill()
		cancel()
		require.NoError(w.t, <-served)
	}
	w.restart()
}
