package conformance

import (
	"errors"
	"net/netip"

	"github.com/stretchr/testify/require"

	"karve.dev/karve/agents/proxy/dataplane"
)

// Living beside other nodes, other clusters, and people who flush rules.

func neighbours(s *scenario) {
	mine := server(30, dataplane.TCP, s.pods[0])
	s.apply(mine)

	// A second node of the same cluster on this host programs the same.
	sibling := dataplane.Identity{Cluster: s.id.Cluster, Node: "node-1"}
	second := s.openAs(sibling, networks)
	s.Cleanup(func() { s.cleanup(sibling) })
	require.NoError(s, second.Apply(s.Context(), dataplane.State{Servers: []dataplane.VirtualServer{mine}, LocalPods: []netip.Prefix{netip.MustParsePrefix("10.80.9.0/24")}}))
	require.Equal(s, map[string]int{"pod0": 3}, s.answers(nil, mine, clusterIP(mine), 3))

	// Another cluster has other pods, and a Service of its own.
	foreign := dataplane.Identity{Cluster: "other", Node: "node-0"}
	theirs := server(31, dataplane.TCP, s.pods[1])
	third := s.openAs(foreign, dataplane.Networks{Pods: []netip.Prefix{netip.MustParsePrefix("10.81.0.0/16")}, Services: networks.Services})
	s.Cleanup(func() { s.cleanup(foreign) })
	require.NoError(s, third.Apply(s.Context(), dataplane.State{Servers: []dataplane.VirtualServer{theirs}}))
	require.Equal(s, map[string]int{"pod1": 3}, s.answers(nil, theirs, clusterIP(theirs), 3))
	require.Equal(s, map[string]int{"pod0": 3}, s.answers(s.pods[2].space, mine, clusterIP(mine), 3))

	// Each goes without taking anything of the others with it.
	open := s.session(nil, clusterIP(mine))
	require.NoError(s, third.Close())
	s.cleanup(foreign)
	require.NoError(s, second.Close())
	s.cleanup(sibling)
	require.NoError(s, open.alive())
	require.Equal(s, map[string]int{"pod0": 3}, s.answers(nil, mine, clusterIP(mine), 3))
	require.NoError(s, isRefused(nil, "tcp", clusterIP(theirs)))
}

func removedByOthers(s *scenario) {
	v := server(32, dataplane.TCP, s.pods[0])
	s.apply(v)
	s.cleanup(s.id)
	_, err := s.plane.Maintain(s.Context())
	require.True(s, errors.Is(err, dataplane.ErrLost), "noticed: %v", err)
	s.apply(v)
	require.Equal(s, map[string]int{"pod0": 3}, s.answers(nil, v, clusterIP(v), 3))
}

func cleanup(s *scenario) {
	s.apply(server(33, dataplane.TCP, s.pods[0]), server(33, dataplane.UDP, s.pods[0]))
	objects, err := s.backend.Objects()
	require.NoError(s, err)
	require.NotEmpty(s, objects)
	require.NoError(s, s.plane.Close())
	s.plane = nil
	s.cleanup(s.id)
	objects, err = s.backend.Objects()
	require.NoError(s, err)
	require.Empty(s, objects)
}
