// Package cluster is what the CLI and the daemon agree on about one cluster of a machine: its settings, where its files
// are, and how the daemon tells the CLI about its start.
package cluster

import (
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"net"
	"net/netip"
	"os"
	"path/filepath"
	"regexp"
)

// DefaultRoot is where clusters keep their data, each in a directory of its name.
const DefaultRoot = "/var/lib/karve"

// DefaultName is the name of a cluster that is not given one.
const DefaultName = "karve"

// Settings are chosen when a cluster is first started and kept in its data directory.
type Settings struct {
	Name string `json:"name"`
	// Listen is host:port of the Kubernetes REST API; GRPCListen that of the gRPC API.
	Listen     string `json:"listen"`
	GRPCListen string `json:"grpcListen"`
	// ClusterCIDR holds the pods' addresses, ServiceCIDR the Services'.
	ClusterCIDR netip.Prefix `json:"clusterCIDR"`
	ServiceCIDR netip.Prefix `json:"serviceCIDR"`
	// Nodes is how many nodes run on this machine's engine.
	Nodes int `json:"nodes"`
	// Dataplane is "auto", "ipvs" or "nftables".
	Dataplane string `json:"dataplane"`
	// Access is how callers prove who they are, and what is recorded of what they do.
	Access Access `json:"access,omitzero"`
	// Upkeep is how the nodes keep the machine usable.
	Upkeep Upkeep `json:"upkeep,omitzero"`
}

var namePattern = regexp.MustCompile(`^[a-z0-9]([-a-z0-9]{0,18}[a-z0-9])?$`)

// Validate says what is wrong with settings, in words for the person who gave them.
func (s *Settings) Validate() error {
	if !namePattern.MatchString(s.Name) {
		return fmt.Errorf("--name %q: use at most 20 lower-case letters, digits and dashes", s.Name)
	}
	for flag, addr := range map[string]string{"--listen": s.Listen, "--grpc-listen": s.GRPCListen} {
		if _, _, err := net.SplitHostPort(addr); err != nil {
			return fmt.Errorf("%s %q: give host:port, such as 127.0.0.1:6443", flag, addr)
		}
	}
	if s.Nodes < 1 || s.Nodes > 64 {
		return fmt.Errorf("--nodes %d: give a number from 1 to 64", s.Nodes)
	}
	switch s.Dataplane {
	case "auto", "ipvs", "nftables":
	default:
		return fmt.Errorf("--dataplane %q: give auto, ipvs or nftables", s.Dataplane)
	}
	return s.Access.Validate()
}

// NodeNames returns the names of the machine's nodes: its host name, then that with a number.
func (s *Settings) NodeNames() ([]string, error) {
	host, err := os.Hostname()
	if err != nil {
		return nil, fmt.Errorf("read the host name: %w", err)
	}
	host = sanitize(host)
	names := []string{host}
	for i := 2; i <= s.Nodes; i++ {
		names = append(names, fmt.Sprintf("%s-%d", host, i))
	}
	return names, nil
}

// sanitize makes a host name a node name: lower case, dots and dashes only.
func sanitize(host string) string {
	out := []byte(host)
	for i, c := range out {
		switch {
		case c >= 'A' && c <= 'Z':
			out[i] = c + 'a' - 'A'
		case c >= 'a' && c <= 'z', c >= '0' && c <= '9', c == '-', c == '.':
		default:
			out[i] = '-'
		}
	}
	return string(out)
}

// Dir is a cluster's data directory.
type Dir string

// DirOf returns where a cluster of that name keeps its data unless told otherwise.
func DirOf(name string) Dir { return Dir(filepath.Join(DefaultRoot, name)) }

func (d Dir) file(parts ...string) string {
	return filepath.Join(append([]string{string(d)}, parts...)...)
}

// The files of a cluster.
func (d Dir) SettingsFile() string { return d.file("cluster.json") }

// Lock is held by the daemon while it runs; it holds its process ID.
func (d Dir) Lock() string { return d.file("karved.lock") }

// Log is the daemon's log.
func (d Dir) Log() string { return d.file("karved.log") }

// Socket is where the daemon shows its health, metrics and profiles to its own user.
func (d Dir) Socket() string { return d.file("karved.sock") }

// PKI holds the cluster's keys and certificates.
func (d Dir) PKI() string { return d.file("pki") }

// Etcd holds the store.
func (d Dir) Etcd() string { return d.file("etcd") }

// EncryptionKeys holds what Secrets are encrypted with.
func (d Dir) EncryptionKeys() string { return d.file("encryption.json") }

// Node holds what the agents of a node keep.
func (d Dir) Node(name string) string { return d.file("nodes", name) }

// Kubeconfig is the administrator's kubeconfig.
func (d Dir) Kubeconfig() string { return d.file("kubeconfig") }

// Credentials holds a certificate for each part that runs as its own process.
func (d Dir) Credentials() string { return d.file("credentials") }

// Load reads the settings; ok is false when the cluster was never started.
func (d Dir) Load() (s Settings, ok bool, err error) {
	raw, err := os.ReadFile(d.SettingsFile())
	if errors.Is(err, fs.ErrNotExist) {
		return s, false, nil
	}
	if err != nil {
		return s, false, fmt.Errorf("read the cluster's settings: %w", err)
	}
	if err := json.Unmarshal(raw, &s); err != nil {
		return s, false, fmt.Errorf("read the cluster's settings in %s: %w", d.SettingsFile(), err)
	}
	return s, true, nil
}

// Save keeps the settings.
func (d Dir) Save(s Settings) error {
	raw, err := json.MarshalIndent(s, "", "  ")
	if err != nil {
		return fmt.Errorf("encode the cluster's settings: %w", err)
	}
	if err := os.MkdirAll(string(d), 0o700); err != nil {
		return fmt.Errorf("make the data directory: %w", err)
	}
	temp := d.SettingsFile() + ".new"
	if err := os.WriteFile(temp, append(raw, '\n'), 0o600); err != nil {
		return fmt.Errorf("save the cluster's settings: %w", err)
	}
	return os.Rename(temp, d.SettingsFile())
}
