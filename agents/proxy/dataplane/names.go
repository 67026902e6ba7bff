package dataplane

import (
	"crypto/sha256"
	"encoding/hex"
	"strings"
)

// Table returns the name of the identity's nftables table.
func (id Identity) Table() string { return ClusterTablePrefix(id.Cluster) + clean(id.Node) }

// ClusterTablePrefix is what the names of all tables of a cluster's nodes begin with.
func ClusterTablePrefix(cluster string) string {
	return "karve-" + clean(cluster) + "-" + short(cluster) + "-"
}

// Interface returns the name of a cluster's interface (one a host) that keeps cluster addresses on the
// machine. Interface names have at most 15 bytes, so it is a hash.
func (id Identity) Interface() string { return InterfacePrefix + short(id.Cluster) }

// InterfacePrefix begins the name that Interface returns for any cluster.
const InterfacePrefix = "kvs"

// short is a name's fingerprint in 8 characters.
func short(name string) string {
	sum := sha256.Sum256([]byte(name))
	return hex.EncodeToString(sum[:4])
}

// clean keeps what an nftables identifier may hold and bounds its length.
func clean(name string) string {
	name = strings.Map(func(r rune) rune {
		if r >= 'a' && r <= 'z' || r >= 'A' && r <= 'Z' || r >= '0' && r <= '9' || r == '-' || r == '.' {
			return r
		}
		return '_'
	}, name)
	return name[:min(len(name), 100)]
}
