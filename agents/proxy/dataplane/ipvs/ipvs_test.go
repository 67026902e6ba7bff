package ipvs_test

import (
	"context"
	"os"
	"testing"

	"go.uber.org/zap"

	"karve.dev/karve/agents/proxy/dataplane"
	"karve.dev/karve/agents/proxy/dataplane/conformance"
	"karve.dev/karve/agents/proxy/dataplane/ipvs"
	"karve.dev/karve/agents/proxy/dataplane/nftables"
	"karve.dev/karve/agents/proxy/vmtest"
)

func TestMain(m *testing.M) { conformance.Main(m) }

// modules are what the kernel in the virtual machine needs for both backends and for the suite's world.
var modules = []string{
	"ip_vs", "ip_vs_rr", "nf_tables", "nft_chain_nat", "nft_nat", "nft_masq", "nft_ct", "nft_numgen", "nft_fib_inet",
	"nft_reject_inet", "nf_conntrack_netlink", "bridge", "br_netfilter", "veth",
}

// TestConformance runs the suite against both backends in a virtual machine whose kernel has IPVS.
func TestConformance(t *testing.T) {
	if os.Getenv(vmtest.Inside) == "" {
		vmtest.Test(t, vmtest.Config{Run: "^TestConformance$", Modules: modules, Env: []string{conformance.OwnNamespace + "=1"}})
		return
	}
	t.Run("ipvs", func(t *testing.T) {
		conformance.Run(t, conformance.Backend{
			Open: func(ctx context.Context, id dataplane.Identity, networks dataplane.Networks, log *zap.Logger) (dataplane.Dataplane, error) {
				return ipvs.New(ctx, ipvs.Config{Identity: id, Networks: networks, Logger: log})
			},
			Cleanup: ipvs.Cleanup,
			Objects: conformance.Objects,
		})
	})
	t.Run("nftables", func(t *testing.T) {
		conformance.Run(t, conformance.Backend{
			Open: func(ctx context.Context, id dataplane.Identity, networks dataplane.Networks, log *zap.Logger) (dataplane.Dataplane, error) {
				return nftables.New(ctx, nftables.Config{Identity: id, Networks: networks, Logger: log})
			},
			Cleanup:          nftables.Cleanup,
			Objects:          conformance.Objects,
			LocalOnlyOutside: true,
		})
	})
}
