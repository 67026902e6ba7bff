package main

import (
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"net"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
	"time"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/client-go/kubernetes"
	"k8s.io/client-go/rest"
	"k8s.io/client-go/tools/clientcmd"

	apiv1 "karve.dev/karve/gen/go/karve/api/v1"
	"karve.dev/karve/internal/cluster"
	"karve.dev/karve/internal/transport"

	"google.golang.org/grpc"
)

// running is the cluster under test.
type running struct {
	daemon   *exec.Cmd
	bin      string
	dir      cluster.Dir
	settings cluster.Settings
	rest     *rest.Config
	kube     *kubernetes.Clientset
	grpc     *grpc.ClientConn
	api      apiv1.ResourceServiceClient
}

const startTimeout = 30 * time.Second

// start runs karved on new data and times it from the outside.
func start(ctx context.Context, o options, t *table) (*running, error) {
	root, err := os.MkdirTemp("", "karve-bench-")
	if err != nil {
		return nil, err
	}
	dir := cluster.Dir(filepath.Join(root, "data"))
	settings := cluster.Settings{Name: o.cluster, Nodes: 1, Dataplane: "auto"}
	if settings.Listen, settings.GRPCListen, err = freeAddrs(); err != nil {
		return nil, err
	}
	lock, err := cluster.LockRanges()
	if err != nil {
		return nil, err
	}
	defer lock.Close()
	if settings.ClusterCIDR, settings.ServiceCIDR, err = cluster.ChooseRanges(cluster.DefaultRoot); err != nil {
		return nil, err
	}
	if err := dir.Save(settings); err != nil {
		return nil, err
	}
	log, err := os.Create(dir.Log())
	if err != nil {
		return nil, err
	}
	defer log.Close()
	c := &running{bin: o.bin, dir: dir, settings: settings}
	c.daemon = exec.Command(filepath.Join(o.bin, "karved"), "run", "--data-dir", string(dir))
	c.daemon.Stdout, c.daemon.Stderr = log, log
	began := time.Now()
	if err := c.daemon.Start(); err != nil {
		return nil, err
	}
	ctx, cancel := context.WithTimeout(ctx, startTimeout)
	defer cancel()
	if err := c.waitReady(ctx, began, t); err != nil {
		return nil, errors.Join(fmt.Errorf("the cluster did not start (log: %s): %w", dir.Log(), err), c.stop())
	}
	return c, nil
}

func freeAddrs() (rest, grpc string, err error) {
	var addrs [2]string
	for i := range addrs {
		l, err := net.Listen("tcp", "127.0.0.1:0")
		if err != nil {
			return "", "", err
		}
		defer l.Close()
		addrs[i] = l.Addr().String()
	}
	return addrs[0], addrs[1], nil
}

func (c *running) waitReady(ctx context.Context, began time.Time, t *table) error {
	probe := http.Client{Timeout: time.Second, Transport: &http.Transport{TLSClientConfig: &tls.Config{InsecureSkipVerify: true}}}
	if err := until(ctx, func() bool {
		res, err := probe.Get("https://" + c.settings.Listen + "/readyz")
		if err != nil {
			return false
		}
		defer res.Body.Close()
		return res.StatusCode == http.StatusOK
	}); err != nil {
		return fmt.Errorf("/readyz: %w", err)
	}
	t.add("process start to /readyz, new data", seconds(began), "0.5 s")
	var err error
	if c.rest, err = clientcmd.BuildConfigFromFlags("", c.dir.Kubeconfig()); err != nil {
		return err
	}
	c.rest.QPS, c.rest.Burst = 1e6, 1e6
	if c.kube, err = kubernetes.NewForConfig(c.rest); err != nil {
		return err
	}
	if err := until(ctx, func() bool {
		nodes, err := c.kube.CoreV1().Nodes().List(ctx, metav1.ListOptions{})
		return err == nil && len(nodes.Items) == 1 && nodeReady(&nodes.Items[0])
	}); err != nil {
		return fmt.Errorf("node Ready: %w", err)
	}
	t.add("process start to node Ready, new data", seconds(began), "1.5 s")
	return c.dial()
}

func (c *running) dial() error {
	cert, err := tls.X509KeyPair(c.rest.CertData, c.rest.KeyData)
	if err != nil {
		return err
	}
	pool, err := rest.TLSConfigFor(c.rest)
	if err != nil {
		return err
	}
	if c.grpc, err = transport.Dial(c.settings.GRPCListen, &tls.Config{MinVersion: tls.VersionTLS13, Certificates: []tls.Certificate{cert}, RootCAs: pool.RootCAs}); err != nil {
		return err
	}
	c.api = apiv1.NewResourceServiceClient(c.grpc)
	return nil
}

func until(ctx context.Context, done func() bool) error {
	for !done() {
		select {
		case <-ctx.Done():
			return ctx.Err()
		case <-time.After(5 * time.Millisecond):
		}
	}
	return nil
}

func nodeReady(n *corev1.Node) bool {
	for _, c := range n.Status.Conditions {
		if c.Type == corev1.NodeReady {
			return c.Status == corev1.ConditionTrue
		}
	}
	return false
}

func seconds(began time.Time) string { return fmt.Sprintf("%.2f s", time.Since(began).Seconds()) }

// stop ends the cluster and removes everything of it.
func (c *running) stop() error {
	if c.grpc != nil {
		_ = c.grpc.Close()
	}
	err := c.daemon.Process.Signal(syscall.SIGTERM)
	if waitErr := c.daemon.Wait(); err == nil {
		err = waitErr
	}
	out, cleanErr := exec.Command(filepath.Join(c.bin, "karved"), "cleanup", "--data-dir", string(c.dir)).CombinedOutput()
	if cleanErr != nil {
		cleanErr = fmt.Errorf("karved cleanup: %w: %s", cleanErr, strings.TrimSpace(string(out)))
	}
	return errors.Join(err, cleanErr, os.RemoveAll(filepath.Dir(string(c.dir))))
}
