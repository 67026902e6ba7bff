package kubelet

import (
	"context"

	"github.com/prometheus/client_golang/prometheus"

	"karve.dev/karve/agents/node/figures"
)

var (
	claimLabels = []string{"namespace", "persistentvolumeclaim"}
	ofClaims    = []family[*figures.Claim]{
		gauge("kubelet_volume_stats_capacity_bytes", "Capacity in bytes of the volume", claimLabels, func(c *figures.Claim) float64 { return float64(c.Disk.Total) }),
		gauge("kubelet_volume_stats_available_bytes", "Number of available bytes in the volume", claimLabels, func(c *figures.Claim) float64 { return float64(c.Disk.Free) }),
		gauge("kubelet_volume_stats_used_bytes", "Number of used bytes in the volume", claimLabels, func(c *figures.Claim) float64 { return float64(c.Used.Bytes) }),
		gauge("kubelet_volume_stats_inodes", "Maximum number of inodes in the volume", claimLabels, func(c *figures.Claim) float64 { return float64(c.Disk.Inodes) }),
		gauge("kubelet_volume_stats_inodes_free", "Number of free inodes in the volume", claimLabels, func(c *figures.Claim) float64 { return float64(c.Disk.InodesFree) }),
		gauge("kubelet_volume_stats_inodes_used", "Number of used inodes in the volume", claimLabels, func(c *figures.Claim) float64 { return float64(c.Used.Inodes) }),
	}
)

// Claims is a prometheus.Collector of the claims that a node's pods use; one that several use is shown once.
func Claims(c *figures.Collector) prometheus.Collector {
	return collector(func(emit chan<- prometheus.Metric) {
		shown := map[[2]string]bool{}
		for _, claim := range c.Claims(context.Background()) {
			key := [2]string{claim.Namespace, claim.Claim}
			if shown[key] {
				continue
			}
			shown[key] = true
			for _, f := range ofClaims {
				f.emit(emit, &claim, claim.Namespace, claim.Claim)
			}
		}
	})
}
