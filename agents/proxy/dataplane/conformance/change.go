package conformance

import (
	"bufio"
	"context"
	"fmt"
	"net"
	"net/netip"
	"sync"
	"time"

	"github.com/stretchr/testify/require"

	"karve.dev/karve/agents/proxy/dataplane"
)

// What happens to connections when endpoints, processes and rules come and go.

// session is an open connection to a pod.
type session struct {
	net.Conn
	pod string
	in  *bufio.Scanner
}

func (s *scenario) session(from *space, address string) *session {
	s.Helper()
	conn, err := dial(from, "tcp", address, patience)
	require.NoError(s, err)
	s.Cleanup(func() { _ = conn.Close() })
	in := bufio.NewScanner(conn)
	out := &session{Conn: conn, in: in}
	_ = conn.SetReadDeadline(time.Now().Add(patience))
	require.True(s, in.Scan(), "greeting: %v", in.Err())
	_, err = fmt.Sscan(in.Text(), &out.pod)
	require.NoError(s, err)
	return out
}

// alive sends a line through and reads it back.
func (c *session) alive() error {
	_ = c.SetDeadline(time.Now().Add(patience))
	if _, err := fmt.Fprintln(c, "still there?"); err != nil {
		return err
	}
	if !c.in.Scan() {
		return fmt.Errorf("connection ended: %v", c.in.Err())
	}
	return nil
}

func (s *scenario) podNamed(name string) (found *pod, others []*pod) {
	for _, p := range s.pods {
		if p.name == name {
			found = p
		} else {
			others = append(others, p)
		}
	}
	return found, others
}

func drains(s *scenario) {
	v := server(20, dataplane.TCP, s.pods...)
	s.apply(v)
	fromNode, fromPod, fromOutside := s.session(nil, clusterIP(v)), s.session(s.pods[0].space, clusterIP(v)), s.session(s.outside, nodePort(v, nodeAddress))
	_, rest := s.podNamed(fromNode.pod)
	v = server(20, dataplane.TCP, rest...)
	s.apply(v)
	require.NotContains(s, s.answers(nil, v, clusterIP(v), 12), fromNode.pod)
	require.NoError(s, fromNode.alive())
	// The Service goes altogether: what is established stays.
	s.apply()
	require.NoError(s, isRefused(nil, "tcp", clusterIP(v)))
	for _, c := range []*session{fromNode, fromPod, fromOutside} {
		require.NoError(s, c.alive())
	}
	// It comes back, then its old endpoint does, while connections to it are still open.
	s.apply(v)
	v = server(20, dataplane.TCP, s.pods...)
	s.apply(v)
	require.Equal(s, map[string]int{"pod0": 2, "pod1": 2, "pod2": 2}, s.answers(nil, v, clusterIP(v), 6))
	require.NoError(s, fromNode.alive())
}

func udpMoves(s *scenario) {
	v := server(21, dataplane.UDP, s.pods...)
	s.apply(v)
	for _, c := range []struct {
		from    *space
		address string
	}{{nil, clusterIP(v)}, {s.pods[0].space, clusterIP(v)}, {s.outside, nodePort(v, nodeAddress)}} {
		s.apply(server(21, dataplane.UDP, s.pods...))
		conn, err := dial(c.from, "udp", c.address, patience)
		require.NoError(s, err)
		defer conn.Close()
		first, _, err := who(conn)
		require.NoError(s, err)
		again, _, err := who(conn)
		require.NoError(s, err)
		require.Equal(s, first, again, "one flow stays on one endpoint")
		_, rest := s.podNamed(first)
		s.apply(server(21, dataplane.UDP, rest...))
		second, _, err := who(conn)
		require.NoError(s, err, "the same socket goes on with another endpoint")
		require.NotEqual(s, first, second)
	}
}

func cut(s *scenario) {
	v := server(22, dataplane.TCP, s.pods[0], s.pods[1])
	s.apply(v)
	var dying, living *session
	for dying == nil || living == nil {
		c := s.session(s.pods[2].space, clusterIP(v))
		if c.pod == "pod0" {
			dying = c
		} else {
			living = c
		}
	}
	dead := s.pods[0].endpoint().Addr
	v = server(22, dataplane.TCP, s.pods[1])
	v.Cut = []netip.AddrPort{dead}
	s.apply(v)
	start := time.Now()
	require.Error(s, dying.alive())
	require.Less(s, time.Since(start), patience/2, "ended, not left to time out")
	require.NoError(s, living.alive())
}

// loader opens connections in a loop and keeps the first error.
type loader struct {
	stop  context.CancelFunc
	done  sync.WaitGroup
	count int
	err   error
}

func (s *scenario) startLoad(v dataplane.VirtualServer) *loader {
	ctx, cancel := context.WithCancel(context.Background())
	l := &loader{stop: cancel}
	l.done.Go(func() {
		for ctx.Err() == nil && l.err == nil {
			if _, _, err := ask(s.pods[2].space, "tcp", clusterIP(v)); err != nil {
				l.err = fmt.Errorf("connection %d: %w", l.count, err)
			}
			l.count++
		}
	})
	return l
}

func (l *loader) finish(s *scenario) {
	s.Helper()
	l.stop()
	l.done.Wait()
	require.NoError(s, l.err)
	require.NotZero(s, l.count)
}

func load(s *scenario) {
	v := server(23, dataplane.TCP, s.pods...)
	s.apply(v)
	l := s.startLoad(v)
	for i := range 8 {
		s.apply(server(23, dataplane.TCP, s.pods[i%3]), server(24, dataplane.TCP, s.pods[:i%4]...))
		s.apply(server(23, dataplane.TCP, s.pods...))
	}
	l.finish(s)
}

func restart(s *scenario) {
	v, gone := server(25, dataplane.TCP, s.pods...), server(26, dataplane.TCP, s.pods[0])
	udp := server(25, dataplane.UDP, s.pods...)
	s.apply(v, gone, udp)
	open := s.session(nil, clusterIP(v))
	flow, err := dial(nil, "udp", clusterIP(udp), patience)
	require.NoError(s, err)
	defer flow.Close()
	before, _, err := who(flow)
	require.NoError(s, err)
	l := s.startLoad(v)
	for range 3 {
		require.NoError(s, s.plane.Close())
		s.plane = nil
		s.apply(v, udp)
	}
	l.finish(s)
	require.NoError(s, open.alive())
	after, _, err := who(flow)
	require.NoError(s, err)
	require.Equal(s, before, after, "a UDP flow stays where it was")
	require.NoError(s, isRefused(nil, "tcp", clusterIP(gone)), "what went while no process ran")
	require.Equal(s, map[string]int{"pod0": 3, "pod1": 3, "pod2": 3}, s.answers(nil, v, clusterIP(v), 9))
}
