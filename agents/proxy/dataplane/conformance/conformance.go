// Package conformance is what every dataplane must show, with real connections in network namespaces: a node, its
// pods, a second node and a client outside.
package conformance

import (
	"context"
	"fmt"
	"net/netip"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
	"go.uber.org/zap"
	"go.uber.org/zap/zaptest"

	"karve.dev/karve/agents/proxy/dataplane"
)

// Backend is a dataplane under test.
type Backend struct {
	// Open returns a dataplane for an identity, as a starting process does.
	Open func(ctx context.Context, id dataplane.Identity, networks dataplane.Networks, log *zap.Logger) (dataplane.Dataplane, error)
	// Cleanup removes everything of an identity, as `karve down` does.
	Cleanup func(ctx context.Context, id dataplane.Identity) error
	// Objects lists what of any Karve's is in the kernel; it must be empty after Cleanup.
	Objects func() ([]string, error)
	// LocalOnlyOutside tells that the backend can send clients outside to local endpoints and those inside to all.
	LocalOnlyOutside bool
}

// Run runs the suite. The process must be in a network namespace of its own: see Main.
func Run(t *testing.T, b Backend) {
	w := newWorld(t, 3)
	for _, c := range []struct {
		name string
		test func(*scenario)
	}{
		{"EndpointsTakeEvenTurns", evenTurns},
		{"NodePortsAnswerOnEveryAddressOfTheNode", nodePorts},
		{"TheClientsAddressIsKeptWhereTheAnswerFindsBack", clientAddress},
		{"APodReachesItselfThroughItsService", hairpin},
		{"AServerOnTheNodeItselfIsReached", onNode},
		{"WithoutEndpointsConnectionsAreRefused", refused},
		{"AddressesOfNobodyAreRefusedAndNeverLeave", unallocated},
		{"ARemovedEndpointDrains", drains},
		{"UDPFlowsMoveAtOnce", udpMoves},
		{"ConnectionsToADeadNodeAreCut", cut},
		{"ClientsStickWithAffinity", affinity},
		{"LocalTrafficStaysLocal", localOnly},
		{"ChangesUnderLoadLoseNothing", load},
		{"ARestartInterruptsNothing", restart},
		{"NodesAndClustersOnOneHostLeaveEachOtherAlone", neighbours},
		{"RulesThatOthersRemoveComeBack", removedByOthers},
		{"CleanupLeavesNothing", cleanup},
	} {
		t.Run(c.name, func(t *testing.T) {
			s := &scenario{T: t, world: w, backend: b, id: dataplane.Identity{Cluster: "test", Node: "node-0"}}
			t.Cleanup(s.end)
			c.test(s)
		})
	}
}

// scenario is one test with its own dataplane in the shared world.
type scenario struct {
	*testing.T
	*world
	backend Backend
	id      dataplane.Identity
	plane   dataplane.Dataplane
}

func (s *scenario) logger() *zap.Logger {
	return zaptest.NewLogger(s.T, zaptest.Level(zap.WarnLevel))
}

func (s *scenario) openAs(id dataplane.Identity, networks dataplane.Networks) dataplane.Dataplane {
	s.Helper()
	plane, err := s.backend.Open(s.Context(), id, networks, s.logger())
	require.NoError(s, err)
	return plane
}

// apply programs servers as the node's complete state.
func (s *scenario) apply(servers ...dataplane.VirtualServer) {
	s.Helper()
	if s.plane == nil {
		s.plane = s.openAs(s.id, networks)
	}
	pods := []netip.Prefix{netip.MustParsePrefix("10.80.0.0/24")}
	require.NoError(s, s.plane.Apply(s.Context(), dataplane.State{Servers: servers, LocalPods: pods, HostPods: pods}))
}

func (s *scenario) end() {
	if s.plane != nil {
		_ = s.plane.Close()
	}
	s.cleanup(s.id)
}

func (s *scenario) cleanup(id dataplane.Identity) {
	s.Helper()
	ctx, cancel := context.WithTimeout(context.Background(), time.Minute)
	defer cancel()
	require.NoError(s, s.backend.Cleanup(ctx, id))
}

// server is a Service with one port: cluster IP 10.96.0.<number>:8080 and node port 30000+number.
func server(number int, protocol dataplane.Protocol, pods ...*pod) dataplane.VirtualServer {
	v := dataplane.VirtualServer{
		Name: fmt.Sprintf("default/svc%d/%s", number, protocol), Service: dataplane.ServiceKey{Namespace: "default", Name: fmt.Sprintf("svc%d", number)},
		Protocol: protocol,
		Frontends: []dataplane.Frontend{
			{Kind: dataplane.ClusterIP, Addr: netip.AddrFrom4([4]byte{10, 96, 0, byte(number)}), Port: podPort},
			{Kind: dataplane.NodePort, Port: uint16(30000 + number)},
		},
	}
	for _, p := range pods {
		v.Endpoints = append(v.Endpoints, p.endpoint())
		if p.name != "remote" {
			v.LocalEndpoints = append(v.LocalEndpoints, p.endpoint())
		}
	}
	return v
}

func clusterIP(v dataplane.VirtualServer) string {
	return netip.AddrPortFrom(v.Frontends[0].Addr, v.Frontends[0].Port).String()
}

func nodePort(v dataplane.VirtualServer, address string) string {
	return fmt.Sprintf("%s:%d", address, v.Frontends[1].Port)
}

func network(v dataplane.VirtualServer) string { return strings.ToLower(v.Protocol.String()) }

// answers counts who answered n connections in a row.
func (s *scenario) answers(from *space, v dataplane.VirtualServer, address string, n int) map[string]int {
	s.Helper()
	out := map[string]int{}
	for range n {
		name, _, err := ask(from, network(v), address)
		require.NoError(s, err, "%s to %s", network(v), address)
		out[name]++
	}
	return out
}

// eventually waits for a condition.
func (s *scenario) eventually(condition func() bool, what string) {
	s.Helper()
	require.Eventually(s, condition, patience, 20*time.Millisecond, what)
}
