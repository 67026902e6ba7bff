package node

import (
	"cmp"
	"crypto/tls"
	"errors"
	"fmt"
	"net/netip"
	"path/filepath"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"go.uber.org/zap"
	"google.golang.org/grpc"
	corev1 "k8s.io/api/core/v1"

	"karve.dev/karve/agents/node/eviction"
	"karve.dev/karve/agents/node/image"
	"karve.dev/karve/agents/node/loglink"
	"karve.dev/karve/agents/node/machine"
	"karve.dev/karve/agents/node/runtime"
	"karve.dev/karve/agents/node/shutdown"
	"karve.dev/karve/agents/node/worker"
	"karve.dev/karve/internal/client"
)

// Config is what an agent needs. Fields without a default in their comment must be set.
type Config struct {
	Cluster  string
	NodeName string
	// DataDir is this node's own folder; volumes of its pods lie in it.
	DataDir string
	// Conn reaches the API service (assignments, status), HealthConn the node health service (heartbeats), both as
	// system:node:<NodeName>. Client is over Conn.
	Conn       grpc.ClientConnInterface
	HealthConn grpc.ClientConnInterface
	Client     *client.Client
	// Runtime runs containers; it may serve several agents.
	Runtime runtime.Runtime
	// TLS is for serving the API service and, on the same port, monitoring: it must ask for a client's certificate, and
	// verify one that is given.
	TLS    *tls.Config
	Log    *zap.Logger
	Events worker.Recorder

	// Listen is where PodAccessService listens; ":0" by default. The Node announces the port.
	Listen string
	// Addresses of the node; by default the address of the machine's way out, and NodeName as the host name.
	Addresses []corev1.NodeAddress
	// Labels of the Node beside the usual ones.
	Labels map[string]string
	// ClusterCIDRs are the addresses of all pods: traffic to them is not masqueraded.
	ClusterCIDRs []netip.Prefix
	// ServiceCIDR tells pods where the API is (its first address); they are not told without it.
	ServiceCIDR netip.Prefix
	// ClusterDNS are the servers of pods with dnsPolicy ClusterFirst; without them they use the machine's.
	ClusterDNS []string
	// ClusterDomain is "cluster.local" by default.
	ClusterDomain string
	// MTU of pods' interfaces; by default that of the machine's way out.
	MTU int
	// Manifests is a folder of pods that run without being asked for through the API; "manifests" in DataDir by default.
	Manifests string
	// Metrics is where the node's metrics are registered; nil for none.
	Metrics prometheus.Registerer
	// Machine measures the node's machine; by default this one.
	Machine machine.Reader
	// Eviction says when the machine is short of something; by default as a kubelet's.
	Eviction eviction.Config
	// Images says when images are removed again that were pulled for pods.
	Images image.Limits
	// RegistryAuth is a file with logins for registries, as docker login writes it; "config.json" in DataDir by default.
	RegistryAuth string
	// Shutdown says how long pods have when the machine goes down.
	Shutdown shutdown.Config
	// MaxProcesses bounds the processes and threads of each container, so that one that forks without end leaves the machine
	// to others; by default 4096, or a quarter of what the machine can have if that is less. Negative: no bound.
	MaxProcesses int64
	// Logs is the folder in which containers' logs are linked to ("/var/log"); empty: nowhere.
	Logs loglink.Dir
	// UnsafeSysctls are the kernel parameters that pods may set besides the safe ones; a "*" at the end stands for the rest.
	UnsafeSysctls []string
	// PulseEvery is how often the engine is asked whether it lives, and how long it may take to answer; 15 seconds by
	// default.
	PulseEvery time.Duration
	// MeasureEvery is how often the machine is measured when nothing alarms; ten seconds by default.
	MeasureEvery time.Duration
}

// complete fills in the defaults.
func (c *Config) complete() error {
	if c.Cluster == "" || c.NodeName == "" || c.DataDir == "" || c.Runtime == nil || c.Client == nil {
		return errors.New("node agent: cluster, node name, data folder, runtime and client must be given")
	}
	if c.Listen == "" {
		c.Listen = ":0"
	}
	if _, pretends := c.Runtime.(runtime.Simulation); c.Manifests == "" && !pretends {
		c.Manifests = filepath.Join(c.DataDir, "manifests")
	}
	if c.MaxProcesses == 0 {
		c.MaxProcesses = min(maxProcesses, machine.MaxProcesses()/4)
	}
	c.MeasureEvery, c.PulseEvery = cmp.Or(c.MeasureEvery, measureEvery), cmp.Or(c.PulseEvery, pulseEvery)
	if c.ClusterDomain == "" {
		c.ClusterDomain = "cluster.local"
	}
	if len(c.Addresses) == 0 {
		c.Addresses = []corev1.NodeAddress{
			{Type: corev1.NodeInternalIP, Address: machine.Address()}, {Type: corev1.NodeHostName, Address: c.NodeName},
		}
	}
	var err error
	if c.DataDir, err = filepath.Abs(c.DataDir); err != nil {
		return fmt.Errorf("find the node's folder: %w", err)
	}
	return nil
}

// maxProcesses is how many processes a container may have on a machine that can have many.
const maxProcesses = 4096

func podsDir(dataDir string) string { return filepath.Join(dataDir, "pods") }

// volumesDir is where the volumes lie that outlive pods.
func volumesDir(dataDir string) string { return filepath.Join(dataDir, "volumes") }

// checkpointDir is where a node keeps what it has been told.
func checkpointDir(dataDir string) string { return filepath.Join(dataDir, "checkpoint") }

// keptIn is checkpointDir; a node that pretends keeps nothing, since it has nothing to go on with.
func keptIn(cfg *Config) string {
	if _, pretends := cfg.Runtime.(runtime.Simulation); pretends {
		return ""
	}
	return checkpointDir(cfg.DataDir)
}
