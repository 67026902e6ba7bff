package node_test

import (
	"archive/tar"
	"bytes"
	"context"
	"crypto/tls"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"sync"
	"testing"

	"github.com/moby/moby/client"
	"github.com/stretchr/testify/require"
	"go.uber.org/zap"
	"go.uber.org/zap/zaptest"
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"karve.dev/karve/agents/node"
	"karve.dev/karve/agents/node/runtime"
	"karve.dev/karve/agents/node/runtime/docker"
	karveclient "karve.dev/karve/internal/client"
)

// appImage is the image that pods in these tests run.
const appImage = "karve-nodetest-app:latest"

// buildApp makes the image's file system.
var buildApp = sync.OnceValues(func() ([]byte, error) {
	dir, err := os.MkdirTemp("", "app")
	if err != nil {
		return nil, err
	}
	defer os.RemoveAll(dir)
	path := filepath.Join(dir, "app")
	cmd := exec.Command("go", "build", "-o", path, "testdata/app/main.go")
	cmd.Env = append(os.Environ(), "CGO_ENABLED=0")
	if out, err := cmd.CombinedOutput(); err != nil {
		return nil, fmt.Errorf("%w: %s", err, out)
	}
	program, err := os.ReadFile(path)
	if err != nil {
		return nil, err
	}
	var archive bytes.Buffer
	w := tar.NewWriter(&archive)
	for _, dir := range []string{"dev", "etc", "tmp"} {
		_ = w.WriteHeader(&tar.Header{Name: dir, Typeflag: tar.TypeDir, Mode: 0o1777})
	}
	_ = w.WriteHeader(&tar.Header{Name: "app", Mode: 0o755, Size: int64(len(program))})
	_, _ = w.Write(program)
	return archive.Bytes(), w.Close()
})

// importApp puts the image on an engine.
func importApp(t testing.TB, cli *client.Client) {
	archive, err := buildApp()
	require.NoError(t, err)
	if _, err := cli.ImageInspect(context.Background(), appImage); err == nil && imported {
		return
	}
	res, err := cli.ImageImport(context.Background(), client.ImageImportSource{Source: bytes.NewReader(archive), SourceName: "-"}, appImage,
		client.ImageImportOptions{Changes: []string{`ENTRYPOINT ["/app"]`}})
	require.NoError(t, err)
	defer res.Close()
	_, err = io.Copy(io.Discard, res)
	require.NoError(t, err)
	imported = true
}

// imported is true once this run has made the image, which an earlier run may have left in another version.
var imported bool

// world is a node on the real engine, with a plane above it.
type world struct {
	*plane
	t       testing.TB
	rt      *docker.Runtime
	cli     *client.Client
	cluster string
	dataDir string
	stop    func()
	agent   *node.Agent
	tls     *tls.Config
	pki     string
	as      func(user string) *tls.Config
	// kill and restart are of an agent that is a process of its own.
	kill, restart func()
	// change, if set, alters the configuration of agents that start from then on.
	change func(*node.Config)
}

const nodeName = "n1"

// newWorld starts a node with the podCIDR 10.232.<third>.0/24 on the machine's engine.
func newWorld(t testing.TB, third int) *world {
	t.Helper()
	return newWorldOn(t, third, client.DefaultDockerHost)
}

func newWorldOn(t testing.TB, third int, engine string) *world {
	t.Helper()
	if testing.Short() || os.Getuid() != 0 {
		t.Skip("needs root and a Docker Engine")
	}
	rt, err := docker.New(docker.Config{Host: engine})
	require.NoError(t, err)
	if _, err := rt.Info(context.Background()); err != nil {
		t.Skip("needs a Docker Engine: ", err)
	}
	cli, err := client.New(client.WithHost(engine))
	require.NoError(t, err)
	importApp(t, cli)
	w := &world{
		plane: newPlane(t, "10.232."+strconv.Itoa(third)+".0/24"), t: t, rt: rt, cli: cli,
		cluster: "nodetest" + strconv.Itoa(os.Getpid()) + "-" + strconv.Itoa(third), dataDir: t.TempDir(), stop: func() {},
	}
	w.pki = t.TempDir()
	w.tls, w.as = newTLS(t, w.pki)
	t.Cleanup(func() {
		w.stop()
		require.NoError(t, node.Cleanup(context.Background(), rt, w.cluster, nodeName, w.dataDir))
		left, err := rt.List(context.Background(), runtime.Owner{Cluster: w.cluster, Node: nodeName})
		require.NoError(t, err)
		require.Empty(t, left, "nothing is left on the engine")
		_ = rt.Close()
		_ = cli.Close()
	})
	w.start()
	return w
}

// start runs an agent; stop ends it as if it had been killed: containers are left as they are.
func (w *world) start() {
	w.t.Helper()
	log := zap.NewNop()
	if testing.Verbose() {
		log = zaptest.NewLogger(w.t)
	}
	conn := w.conn(nodeName)
	cfg := node.Config{
		Cluster: w.cluster, NodeName: nodeName, DataDir: w.dataDir, Conn: conn, HealthConn: conn,
		Client: karveclient.New(conn, "kubelet"), Runtime: w.rt, TLS: w.tls, Log: log, Events: w.plane,
	}
	if w.change != nil {
		w.change(&cfg)
	}
	agent, err := node.New(cfg)
	require.NoError(w.t, err)
	w.agent = agent
	ctx, cancel := context.WithCancel(context.Background())
	done := make(chan error, 1)
	go func() { done <- agent.Run(ctx) }()
	w.stop = sync.OnceFunc(func() {
		cancel()
		require.NoError(w.t, <-done)
		w.server.Wait()
	})
}

func pod(name string, containers ...corev1.Container) *corev1.Pod {
	grace := int64(5)
	for i := range containers {
		if containers[i].Name == "" {
			containers[i].Name = "app"
		}
		containers[i].Image = appImage
		containers[i].TerminationMessagePath = "/dev/termination-log"
		containers[i].ImagePullPolicy = corev1.PullAlways
	}
	return &corev1.Pod{
		ObjectMeta: metav1.ObjectMeta{Namespace: "default", Name: name},
		Spec: corev1.PodSpec{
			NodeName: nodeName, Containers: containers, RestartPolicy: corev1.RestartPolicyAlways,
			DNSPolicy: corev1.DNSClusterFirst, TerminationGracePeriodSeconds: &grace,
		},
	}
}

func running(p *corev1.Pod) bool { return p != nil && p.Status.Phase == corev1.PodRunning && ready(p) }

func ready(p *corev1.Pod) bool {
	for _, c := range p.Status.Conditions {
		if c.Type == corev1.PodReady {
			return c.Status == corev1.ConditionTrue
		}
	}
	return false
}

func gone(p *corev1.Pod) bool { return p == nil }
