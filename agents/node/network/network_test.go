package network

import (
	"context"
	"net"
	"net/netip"
	"os"
	"os/exec"
	"runtime"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
	"github.com/vishvananda/netlink"
	"github.com/vishvananda/netns"
)

func TestAddressesRestBeforeTheyAreReused(t *testing.T) {
	p := &pool{}
	_, err := p.take("a")
	require.ErrorIs(t, err, ErrNotReady)
	p.serve(netip.MustParsePrefix("10.9.0.0/29"))
	var got []string
	for range 5 {
		a, err := p.take("a")
		require.NoError(t, err)
		got = append(got, a.String())
	}
	require.Equal(t, []string{"10.9.0.2", "10.9.0.3", "10.9.0.4", "10.9.0.5", "10.9.0.6"}, got)
	_, err = p.take("a")
	require.ErrorContains(t, err, "no free address left in 10.9.0.0/29")
	p.release(netip.MustParseAddr("10.9.0.3"), "b")
	_, err = p.take("b")
	require.Error(t, err, "only its owner gives an address back")
	require.True(t, p.reserve(netip.MustParseAddr("10.9.0.3"), "a"))
	require.False(t, p.reserve(netip.MustParseAddr("10.9.0.3"), "b"))
	p.release(netip.MustParseAddr("10.9.0.3"), "a")
	a, err := p.take("a")
	require.NoError(t, err)
	require.Equal(t, "10.9.0.3", a.String())
}

// sandbox starts a process in a network namespace of its own and returns its PID.
func sandbox(t *testing.T) int {
	t.Helper()
	cmd := exec.Command("unshare", "--net", "sleep", "1000")
	require.NoError(t, cmd.Start())
	t.Cleanup(func() { _ = cmd.Process.Kill(); _ = cmd.Wait() })
	own, err := os.Readlink("/proc/thread-self/ns/net")
	require.NoError(t, err)
	require.Eventually(t, func() bool {
		other, err := os.Readlink("/proc/" + itoa(cmd.Process.Pid) + "/ns/net")
		return err == nil && other != own
	}, eventually, tick)
	return cmd.Process.Pid
}

// inside runs fn in the network namespace of a process, on a thread that is thrown away afterwards.
func inside(pid int, fn func() error) error {
	done := make(chan error, 1)
	go func() {
		runtime.LockOSThread()
		ns, err := netns.GetFromPid(pid)
		if err == nil {
			defer ns.Close()
			err = netns.Set(ns)
		}
		if err == nil {
			err = fn()
		}
		done <- err
	}()
	return <-done
}

// reach connects from one namespace to an address in another (or, with pid 0, on the host).
func reach(from, to int, addr string) error {
	var lis net.Listener
	listen := func() (err error) {
		lis, err = net.Listen("tcp", net.JoinHostPort(addr, "0"))
		return err
	}
	err := error(nil)
	if to == 0 {
		err = listen()
	} else {
		err = inside(to, listen)
	}
	if err != nil {
		return err
	}
	defer lis.Close()
	dial := func() error {
		conn, err := net.DialTimeout("tcp", lis.Addr().String(), eventually)
		if err == nil {
			_ = conn.Close()
		}
		return err
	}
	if from == 0 {
		return dial()
	}
	return inside(from, dial)
}

func TestPodsOfTwoNodesReachEachOther(t *testing.T) {
	if os.Getuid() != 0 || runtime.GOOS != "linux" {
		t.Skip("needs root")
	}
	ctx := context.Background()
	cluster := "nettest" + itoa(os.Getpid())
	var pids []int
	var addrs []netip.Addr
	for i, cidr := range []string{"10.231.1.0/24", "10.231.2.0/24"} {
		n := New(Config{Cluster: cluster, Node: "n" + itoa(i), ClusterCIDRs: []netip.Prefix{netip.MustParsePrefix("10.231.0.0/16")}})
		t.Cleanup(n.Close)
		t.Cleanup(func() { require.NoError(t, Cleanup(ctx, cluster, "n"+itoa(i))) })
		require.NoError(t, n.Setup(ctx, netip.MustParsePrefix(cidr)))
		require.NoError(t, n.Setup(ctx, netip.MustParsePrefix(cidr)), "setting up again repairs, and changes nothing")
		pid, id := sandbox(t), cluster+itoa(i)
		addr, err := n.Allocate(id)
		require.NoError(t, err)
		require.False(t, n.Attached(id))
		require.NoError(t, n.Attach(ctx, id, pid, addr))
		require.NoError(t, n.Attach(ctx, id, pid, addr), "attaching again replaces")
		require.True(t, n.Attached(id))
		pids, addrs = append(pids, pid), append(addrs, addr)
	}
	require.NoError(t, reach(pids[0], pids[1], addrs[1].String()), "from pod to pod across nodes")
	require.NoError(t, reach(pids[1], pids[0], addrs[0].String()))
	require.NoError(t, reach(pids[0], 0, "10.231.1.1"), "from a pod to its node")
	require.NoError(t, reach(pids[0], pids[0], "127.0.0.1"), "loopback is up")

	for i := range 2 {
		require.NoError(t, Cleanup(ctx, cluster, "n"+itoa(i)))
		_, err := netlink.LinkByName(New(Config{Cluster: cluster, Node: "n" + itoa(i)}).bridge)
		require.ErrorAs(t, err, new(netlink.LinkNotFoundError))
	}
	rules, err := exec.Command("iptables", "-S", "FORWARD").Output()
	require.NoError(t, err)
	require.NotContains(t, string(rules), cluster)
	tables, err := exec.Command("nft", "list", "tables").Output()
	require.NoError(t, err)
	require.False(t, strings.Contains(string(tables), cluster), "no table is left")
}

const (
	eventually = 5 * time.Second
	tick       = 5 * time.Millisecond
)

func itoa(i int) string { return strconv.Itoa(i) }

// TestAnAddressMovesAtOnce gives an address to a second sandbox while the interface of the first is still there, as the
// kernel leaves it for a while. The second one sends nothing by itself.
func TestAnAddressMovesAtOnce(t *testing.T) {
	if os.Getuid() != 0 || runtime.GOOS != "linux" {
		t.Skip("needs root")
	}
	ctx, cluster := t.Context(), "nettest-moves"+itoa(os.Getpid())
	n := New(Config{Cluster: cluster, Node: "n"})
	t.Cleanup(n.Close)
	t.Cleanup(func() { require.NoError(t, Cleanup(context.Background(), cluster, "n")) })
	require.NoError(t, n.Setup(ctx, netip.MustParsePrefix("10.231.3.0/24")))
	first, second := sandbox(t), sandbox(t)
	addr, err := n.Allocate("pod")
	require.NoError(t, err)
	require.NoError(t, n.Attach(ctx, cluster+"first", first, addr))
	require.NoError(t, reach(0, first, addr.String()))

	require.NoError(t, inside(first, func() error {
		eth0, err := netlink.LinkByName("eth0")
		if err != nil {
			return err
		}
		return netlink.AddrDel(eth0, &netlink.Addr{IPNet: &net.IPNet{IP: addr.AsSlice(), Mask: net.CIDRMask(24, 32)}})
	}))
	// Without IPv6, the second sandbox's interface does not announce itself when it comes up.
	require.NoError(t, inside(second, func() error {
		return os.WriteFile("/proc/sys/net/ipv6/conf/default/disable_ipv6", []byte("1"), 0)
	}))
	require.NoError(t, n.Attach(ctx, cluster+"second", second, addr))
	require.NoError(t, reach(0, second, addr.String()))
}
