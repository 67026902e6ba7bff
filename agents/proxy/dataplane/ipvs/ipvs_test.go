package ipvs_test

import (
	"context"
	"net/netip"
	"os"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"
	"go.uber.org/zap"

	"karve.dev/karve/agents/proxy/dataplane"
	"karve.dev/karve/agents/proxy/dataplane/conformance"
	"karve.dev/karve/agents/proxy/dataplane/ipvs"
	"karve.dev/karve/agents/proxy/dataplane/nftables"
	"karve.dev/karve/internal/vmtest"
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
		conformance.Run(t, conformance.Backend{Open: openIPVS, Cleanup: ipvs.Cleanup, Objects: conformance.Objects})
	})
	t.Run("nftables", func(t *testing.T) {
		conformance.Run(t, conformance.Backend{Open: openNftables, Cleanup: nftables.Cleanup, Objects: conformance.Objects, LocalOnlyOutside: true})
	})
	t.Run("switching", switching)
}

func openIPVS(ctx context.Context, id dataplane.Identity, networks dataplane.Networks, log *zap.Logger) (dataplane.Dataplane, error) {
	return ipvs.New(ctx, ipvs.Config{Identity: id, Networks: networks, Logger: log})
}

func openNftables(ctx context.Context, id dataplane.Identity, networks dataplane.Networks, log *zap.Logger) (dataplane.Dataplane, error) {
	if err := ipvs.Retire(ctx, id); err != nil {
		return nil, err
	}
	return nftables.New(ctx, nftables.Config{Identity: id, Networks: networks, Logger: log})
}

// switching changes the backend from one process to the next, as a flag does: nothing of the other one stays.
func switching(t *testing.T) {
	id := dataplane.Identity{Cluster: "switch", Node: "n"}
	state := dataplane.State{Servers: []dataplane.VirtualServer{{
		Name: "default/web:80/TCP/4", Protocol: dataplane.TCP,
		Frontends: []dataplane.Frontend{{Addr: netip.MustParseAddr("10.96.7.7"), Port: 80}, {Kind: dataplane.NodePort, Port: 30777}},
		Endpoints: []dataplane.Endpoint{{Addr: netip.MustParseAddrPort("10.80.0.9:80"), OnHost: true}},
	}}}
	networks := dataplane.Networks{Services: []netip.Prefix{netip.MustParsePrefix("10.96.0.0/16")}}
	type opener func(context.Context, dataplane.Identity, dataplane.Networks, *zap.Logger) (dataplane.Dataplane, error)
	for i, open := range []opener{openIPVS, openNftables, openIPVS} {
		plane, err := open(t.Context(), id, networks, zap.NewNop())
		require.NoError(t, err)
		require.NoError(t, plane.Apply(t.Context(), state))
		require.NoError(t, plane.Close())
		objects, err := conformance.Objects()
		require.NoError(t, err)
		require.Equal(t, i != 1, strings.Contains(strings.Join(objects, "\n"), "ipvs TCP"), "%v", objects)
	}
	require.NoError(t, ipvs.Cleanup(t.Context(), id))
	objects, err := conformance.Objects()
	require.NoError(t, err)
	require.Empty(t, objects)
}
