package conformance

import (
	"errors"
	"net"
	"net/netip"
	"os"
	"syscall"
	"time"

	"github.com/stretchr/testify/require"

	"karve.dev/karve/agents/proxy/dataplane"
)

// Who is reached, from where, and who is refused.

func evenTurns(s *scenario) {
	tcp, udp := server(1, dataplane.TCP, s.pods...), server(1, dataplane.UDP, s.pods...)
	s.apply(tcp, udp)
	even := map[string]int{"pod0": 10, "pod1": 10, "pod2": 10}
	for _, v := range []dataplane.VirtualServer{tcp, udp} {
		require.Equal(s, even, s.answers(nil, v, clusterIP(v), 30), "%s from the node", v.Protocol)
		require.Equal(s, even, s.answers(s.pods[0].space, v, clusterIP(v), 30), "%s from a pod", v.Protocol)
		require.Equal(s, even, s.answers(s.outside, v, nodePort(v, nodeAddress), 30), "%s from outside", v.Protocol)
	}
}

func nodePorts(s *scenario) {
	v := server(2, dataplane.TCP, s.pods[0])
	withRemote := server(3, dataplane.TCP, s.remote)
	s.apply(v, withRemote)
	for _, address := range []string{nodeAddress, "127.0.0.1", "10.80.0.1"} {
		s.answers(nil, v, nodePort(v, address), 2)
		s.answers(nil, withRemote, nodePort(withRemote, address), 2)
	}
	s.answers(s.outside, v, nodePort(v, nodeAddress), 2)
	s.answers(s.outside, withRemote, nodePort(withRemote, nodeAddress), 2)
	s.answers(s.pods[1].space, v, nodePort(v, nodeAddress), 2)
	s.answers(s.pods[1].space, withRemote, nodePort(withRemote, nodeAddress), 2)
	s.answers(s.pods[0].space, v, nodePort(v, nodeAddress), 2)
}

func clientAddress(s *scenario) {
	v, withRemote := server(4, dataplane.TCP, s.pods[0]), server(5, dataplane.TCP, s.remote)
	s.apply(v, withRemote)
	for _, c := range []struct {
		from        *space
		to, address string
	}{
		{s.pods[1].space, clusterIP(v), s.pods[1].addr.String()},
		{s.outside, nodePort(v, nodeAddress), outsideAddr},
		{s.pods[1].space, clusterIP(withRemote), s.pods[1].addr.String()},
	} {
		_, seen, err := ask(c.from, "tcp", c.to)
		require.NoError(s, err)
		require.Equal(s, c.address, seen, "connection to %s", c.to)
	}
}

func hairpin(s *scenario) {
	for _, protocol := range []dataplane.Protocol{dataplane.TCP, dataplane.UDP} {
		v := server(6, protocol, s.pods[0])
		s.apply(v)
		require.Equal(s, map[string]int{"pod0": 3}, s.answers(s.pods[0].space, v, clusterIP(v), 3), "%s", protocol)
	}
}

// onNode is how pods reach the node's DNS, and the API server by its Service: the endpoint is an address of the host.
func onNode(s *scenario) {
	own := &pod{name: "node", addr: netip.MustParsePrefix(bridgeAddress).Addr()}
	s.serve(own)
	for _, protocol := range []dataplane.Protocol{dataplane.TCP, dataplane.UDP} {
		v := server(12, protocol, own)
		s.apply(v)
		require.Equal(s, map[string]int{"node": 2}, s.answers(s.pods[0].space, v, clusterIP(v), 2), "%s from a pod", protocol)
		require.Equal(s, map[string]int{"node": 2}, s.answers(nil, v, clusterIP(v), 2), "%s from the node", protocol)
	}
}

// isRefused tells whether an address refuses: TCP at connect, UDP by the ICMP message that a datagram brings. A
// datagram that the machine itself sends is refused (EPERM) before there is a message.
func isRefused(from *space, network, address string) error {
	start := time.Now()
	name, _, err := ask(from, network, address)
	if err == nil {
		return errors.New(network + " to " + address + " was answered by " + name)
	}
	if !errors.Is(err, syscall.ECONNREFUSED) && !(network == "udp" && from == nil && errors.Is(err, syscall.EPERM)) {
		return err
	}
	if took := time.Since(start); took > patience/3 {
		return errors.New("refused only after " + took.String())
	}
	return nil
}

func refused(s *scenario) {
	tcp, udp := server(7, dataplane.TCP), server(7, dataplane.UDP)
	s.apply(tcp, udp)
	for _, v := range []dataplane.VirtualServer{tcp, udp} {
		for _, from := range []*space{nil, s.pods[0].space} {
			require.NoError(s, isRefused(from, network(v), clusterIP(v)))
		}
		require.NoError(s, isRefused(nil, network(v), nodePort(v, nodeAddress)))
		require.NoError(s, isRefused(s.outside, network(v), nodePort(v, nodeAddress)))
	}
	tcp, udp = server(7, dataplane.TCP, s.pods[1]), server(7, dataplane.UDP, s.pods[1])
	s.apply(tcp, udp)
	for _, v := range []dataplane.VirtualServer{tcp, udp} {
		s.answers(nil, v, clusterIP(v), 2)
		s.answers(s.pods[0].space, v, clusterIP(v), 2)
		s.answers(s.outside, v, nodePort(v, nodeAddress), 2)
	}
}

func unallocated(s *scenario) {
	v := server(8, dataplane.TCP, s.pods[0])
	s.apply(v)
	for _, from := range []*space{nil, s.pods[0].space} {
		for _, network := range []string{"tcp", "udp"} {
			require.NoError(s, isRefused(from, network, "10.96.200.200:8080"), "nobody's address")
			require.NoError(s, isRefused(from, network, "10.96.0.8:8081"), "a Service's address, another port")
		}
	}
}

func affinity(s *scenario) {
	for _, protocol := range []dataplane.Protocol{dataplane.TCP, dataplane.UDP} {
		v := server(9, protocol, s.pods...)
		v.Affinity = 2 * time.Hour
		s.apply(v)
		mine := s.answers(nil, v, clusterIP(v), 6)
		require.Len(s, mine, 1, "one client, one endpoint: %v", mine)
		all := map[string]bool{}
		for _, p := range s.pods {
			theirs := s.answers(p.space, v, clusterIP(v), 3)
			require.Len(s, theirs, 1, "%v", theirs)
			for name := range theirs {
				all[name] = true
			}
		}
		require.Greater(s, len(all), 1, "several clients spread over several endpoints")

		// The endpoint goes: the client gets another and stays there.
		var rest []*pod
		for _, p := range s.pods {
			if mine[p.name] == 0 {
				rest = append(rest, p)
			}
		}
		v = server(9, protocol, rest...)
		v.Affinity = 2 * time.Hour
		s.apply(v)
		now := s.answers(nil, v, clusterIP(v), 6)
		require.Len(s, now, 1, "%v", now)
		require.NotEqual(s, mine, now)
	}
}

func localOnly(s *scenario) {
	v := server(10, dataplane.TCP, s.pods[0], s.remote)
	v.Frontends[1].Local = true
	internal := server(11, dataplane.TCP, s.pods[1], s.remote)
	internal.Frontends[0].Local = true
	s.apply(v, internal)
	require.Equal(s, map[string]int{"pod0": 4}, s.answers(s.outside, v, nodePort(v, nodeAddress), 4))
	require.Equal(s, map[string]int{"pod1": 4}, s.answers(s.pods[0].space, internal, clusterIP(internal), 4))
	require.Len(s, s.answers(nil, v, clusterIP(v), 4), 2, "other frontends reach all")
	if s.backend.LocalOnlyOutside {
		require.Len(s, s.answers(nil, v, nodePort(v, nodeAddress), 4), 2, "the node itself reaches all")
	}
	none := server(10, dataplane.TCP, s.remote)
	none.Frontends[1].Local = true
	s.apply(none)
	_, err := dial(s.outside, "tcp", nodePort(none, nodeAddress), 1500*time.Millisecond)
	require.Error(s, err)
	var timeout net.Error
	require.True(s, errors.As(err, &timeout) && timeout.Timeout() || errors.Is(err, os.ErrDeadlineExceeded), "dropped, so that clients try another node: %v", err)
}
