// Package clusterdns holds what the parts agree on about the cluster's DNS, which every node answers itself: the Service
// that stands for it, and where nodes listen.
package clusterdns

import "net/netip"

const (
	// Service is the Service in kube-system that has the cluster's DNS address.
	Service = "kube-dns"
	// ManagedBy marks the EndpointSlices that name the nodes' own servers. They are for who looks: a node sends what asks
	// the Service to its own server, unless the Service has endpoints besides.
	ManagedBy = "node-dns.karve.dev"
	// Port is where DNS is answered.
	Port = 53
)

// ServerOf is the address of a node's server: the first of its pods' range, which its bridge has.
func ServerOf(pods netip.Prefix) netip.Addr { return pods.Masked().Addr().Next() }
