package nftables_test

import (
	"fmt"
	"net/netip"
	"testing"

	"github.com/stretchr/testify/require"

	"karve.dev/karve/agents/proxy/dataplane"
	"karve.dev/karve/agents/proxy/dataplane/nftables"
)

// many returns n Services with ten endpoints each, a cluster IP and a node port.
func many(n int) []dataplane.VirtualServer {
	out := make([]dataplane.VirtualServer, n)
	for i := range out {
		v := &out[i]
		v.Name, v.Protocol = fmt.Sprintf("default/svc%d:80/TCP/4", i), dataplane.TCP
		v.Frontends = []dataplane.Frontend{
			{Kind: dataplane.ClusterIP, Addr: netip.AddrFrom4([4]byte{10, 96, byte(i >> 8), byte(i)}), Port: 80},
			{Kind: dataplane.NodePort, Port: uint16(30000 + i)},
		}
		for j := range 10 {
			v.Endpoints = append(v.Endpoints, dataplane.Endpoint{Addr: netip.AddrPortFrom(netip.AddrFrom4([4]byte{10, 244, byte(j), byte(i)}), 8080)})
		}
	}
	return out
}

// BenchmarkApply measures, with 1000 Services of 10 endpoints: writing all of them, a restart that finds all of them,
// and one endpoint that changes.
func BenchmarkApply(b *testing.B) {
	id := dataplane.Identity{Cluster: "bench", Node: "n"}
	open := func() *nftables.Dataplane {
		d, err := nftables.New(b.Context(), nftables.Config{Identity: id})
		require.NoError(b, err)
		return d
	}
	state := dataplane.State{Servers: many(1000)}
	b.Run("all", func(b *testing.B) {
		for b.Loop() {
			b.StopTimer()
			require.NoError(b, nftables.Cleanup(b.Context(), id))
			d := open()
			b.StartTimer()
			require.NoError(b, d.Apply(b.Context(), state))
		}
	})
	b.Run("restart", func(b *testing.B) {
		for b.Loop() {
			require.NoError(b, open().Apply(b.Context(), state))
		}
	})
	d := open()
	require.NoError(b, d.Apply(b.Context(), state))
	b.Run("one endpoint", func(b *testing.B) {
		i := 0
		for b.Loop() {
			i++
			v := &state.Servers[i%1000]
			eps := append([]dataplane.Endpoint{}, v.Endpoints...)
			eps[i%10].Addr = netip.AddrPortFrom(eps[i%10].Addr.Addr(), uint16(1000+i%50000))
			v.Endpoints = eps
			require.NoError(b, d.Apply(b.Context(), state))
		}
	})
	b.Run("one endpoint more or less", func(b *testing.B) {
		i := 0
		for b.Loop() {
			i++
			v := &state.Servers[i%1000]
			v.Endpoints = many(i%1000 + 1)[i%1000].Endpoints[:9+i/1000%2]
			require.NoError(b, d.Apply(b.Context(), state))
		}
	})
	b.Run("nothing", func(b *testing.B) {
		for b.Loop() {
			require.NoError(b, d.Apply(b.Context(), state))
		}
	})
	require.NoError(b, nftables.Cleanup(b.Context(), id))
}
