package nftables_test

import (
	"bytes"
	"context"
	"net/netip"
	"os/exec"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
	"go.uber.org/zap"

	"karve.dev/karve/agents/proxy/dataplane"
	"karve.dev/karve/agents/proxy/dataplane/conformance"
	"karve.dev/karve/agents/proxy/dataplane/nftables"
)

func TestMain(m *testing.M) { conformance.Main(m) }

func TestConformance(t *testing.T) {
	conformance.Run(t, conformance.Backend{
		Open: func(ctx context.Context, id dataplane.Identity, networks dataplane.Networks, log *zap.Logger) (dataplane.Dataplane, error) {
			return nftables.New(ctx, nftables.Config{Identity: id, Networks: networks, Logger: log})
		},
		Cleanup:          nftables.Cleanup,
		Objects:          conformance.Objects,
		LocalOnlyOutside: true,
	})
}

// People list and save rulesets, and load what they saved: a table that nft cannot read back would break that for
// everything on the machine.
func TestRulesReadAsPeopleWriteThem(t *testing.T) {
	id := dataplane.Identity{Cluster: "reads", Node: "n"}
	prefixes := func(a, b string) []netip.Prefix {
		return []netip.Prefix{netip.MustParsePrefix(a), netip.MustParsePrefix(b)}
	}
	d, err := nftables.New(t.Context(), nftables.Config{Identity: id, Networks: dataplane.Networks{
		Pods: prefixes("10.244.0.0/16", "fd01::/48"), Services: prefixes("10.96.0.0/16", "fd02::/112"), NodePorts: prefixes("10.0.0.0/8", "fd03::/64"),
	}})
	require.NoError(t, err)
	t.Cleanup(func() { require.NoError(t, nftables.Cleanup(context.Background(), id)) })
	servers := many(4)
	servers[0].Affinity = time.Hour
	servers[1].Frontends[1].Local = true
	servers[2].Endpoints = nil
	six := dataplane.VirtualServer{Name: "default/six:53/UDP/6", Protocol: dataplane.UDP, IPv6: true, Affinity: time.Minute,
		Frontends: []dataplane.Frontend{{Addr: netip.MustParseAddr("fd02::5"), Port: 53}, {Kind: dataplane.NodePort, Port: 30053}},
		Endpoints: []dataplane.Endpoint{{Addr: netip.MustParseAddrPort("[fd01::7]:53"), OnHost: true}}}
	for range 2 { // the second time everything is there already
		require.NoError(t, d.Apply(t.Context(), dataplane.State{Servers: append(servers, six), LocalPods: prefixes("10.244.1.0/24", "fd01::/64")}))
	}
	rules, err := exec.CommandContext(t.Context(), "nft", "list", "ruleset").CombinedOutput()
	require.NoError(t, err, "apt-get install -y nftables; %s", rules)
	require.Contains(t, string(rules), `meta l4proto tcp dnat ip to numgen inc mod 10 map { 0 : 10.244.`)
	require.Contains(t, string(rules), `comment "default/svc3:80/TCP/4"`)
	require.Contains(t, string(rules), "10.96.0.2 . tcp . 80 : goto refuse")
	check := exec.CommandContext(t.Context(), "nft", "-c", "-f", "-")
	check.Stdin = bytes.NewReader(append([]byte("flush ruleset\n"), rules...))
	out, err := check.CombinedOutput()
	require.NoError(t, err, "%s", out)

	require.NoError(t, d.Apply(t.Context(), dataplane.State{}))
	rules, err = exec.CommandContext(t.Context(), "nft", "list", "ruleset").CombinedOutput()
	require.NoError(t, err)
	require.NotContains(t, string(rules), "chain svc")
	require.NotContains(t, string(rules), "clients-")
}
