package cluster

import (
	"fmt"
	"net"
	"net/netip"
	"os"
	"os/exec"
	"path/filepath"
	"syscall"
	"testing"

	"github.com/stretchr/testify/require"

	"karve.dev/karve/internal/cluster"
)

// Processes is a cluster of which every part is a process of its own, connected over mTLS.
type Processes struct {
	*Cluster
	// Node is the name of the only node.
	Node     string
	settings cluster.Settings
	health   string
	running  map[string]*exec.Cmd
}

// Parts are the processes, in the order in which StartProcesses starts them.
var Parts = []string{"api", "gateway", "scheduler", "nodehealth", "replication", "network", "storage", "lifecycle", "node", "proxy"}

// StartProcesses starts every part, with the default settings changed by change.
func StartProcesses(t testing.TB, change ...func(*cluster.Settings)) *Processes {
	p := &Processes{Cluster: New(t), running: map[string]*exec.Cmd{}}
	lock, err := cluster.LockRanges()
	require.NoError(t, err)
	defer lock.Close()
	pods, services, err := cluster.ChooseRanges(cluster.DefaultRoot)
	require.NoError(t, err)
	host, port, err := net.SplitHostPort(p.Listen)
	require.NoError(t, err)
	var n int
	_, err = fmt.Sscan(port, &n)
	require.NoError(t, err)
	p.health = FreeAddr(t)
	p.settings = cluster.Settings{
		Name: p.Name, Listen: p.Listen, GRPCListen: fmt.Sprintf("%s:%d", host, n+1000), Nodes: 1, Dataplane: "auto",
		ClusterCIDR: netip.PrefixFrom(pods.Addr(), pods.Bits()), ServiceCIDR: services,
	}
	for _, c := range change {
		c(&p.settings)
	}
	require.NoError(t, cluster.Dir(p.DataDir).Save(p.settings))
	names, err := p.settings.NodeNames()
	require.NoError(t, err)
	p.Node = names[0]
	t.Cleanup(p.stopAll)
	for _, part := range Parts {
		p.StartPart(part)
	}
	p.Eventually("the kubeconfig is there", func() string {
		raw, err := os.ReadFile(filepath.Join(p.DataDir, "kubeconfig"))
		if err != nil {
			return err.Error()
		}
		require.NoError(t, os.MkdirAll(filepath.Dir(p.Kubeconfig()), 0o700))
		require.NoError(t, os.WriteFile(p.Kubeconfig(), raw, 0o600))
		return ""
	})
	return p
}

// StartPart starts one process, with credentials that say who it is.
func (p *Processes) StartPart(part string) {
	p.t.Helper()
	args := []string{part}
	if part == "api" {
		args = append(args, "--data-dir", p.DataDir)
	} else {
		args = append(args, "--cluster", p.DataDir, "--api", p.settings.GRPCListen, "--credentials", p.issue(part))
	}
	switch part {
	case "gateway":
		args = append(args, "--listen", p.Listen)
	case "scheduler":
		args = append(args, "--listen", FreeAddr(p.t))
	case "nodehealth":
		args = append(args, "--listen", p.health)
	case "node":
		args = append(args, "--node-name", p.Node, "--nodehealth", p.health, "--data-dir", p.NodeDir())
	case "proxy":
		args = append(args, "--node-name", p.Node)
	}
	log, err := os.OpenFile(filepath.Join(p.DataDir, "karved.log"), os.O_CREATE|os.O_APPEND|os.O_WRONLY, 0o600)
	require.NoError(p.t, err)
	defer log.Close()
	cmd := exec.Command(Program(p.t, "karved"), args...)
	cmd.Stdout, cmd.Stderr = log, log
	require.NoError(p.t, cmd.Start())
	p.running[part] = cmd
}

// NodeDir is where the node keeps its data.
func (p *Processes) NodeDir() string { return filepath.Join(p.DataDir, "nodes", p.Node) }

func (p *Processes) issue(part string) string {
	role := part
	if part == "node" || part == "proxy" {
		role = "node:" + p.Node
	}
	out := filepath.Join(p.DataDir, "credentials", part)
	text, err := exec.Command(Program(p.t, "karved"), "issue", role, "--data-dir", p.DataDir, "--out", out).CombinedOutput()
	require.NoError(p.t, err, string(text))
	return out
}

// Kill ends one process without a warning.
func (p *Processes) Kill(part string) {
	p.t.Helper()
	cmd := p.running[part]
	require.NoError(p.t, cmd.Process.Kill())
	_ = cmd.Wait()
	delete(p.running, part)
}

func (p *Processes) stopAll() {
	for part, cmd := range p.running {
		_ = cmd.Process.Signal(syscall.SIGTERM)
		if err := cmd.Wait(); err != nil {
			p.t.Errorf("%s ended with %v", part, err)
		}
	}
}
