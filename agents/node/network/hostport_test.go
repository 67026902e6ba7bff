package network

import (
	"context"
	"net"
	"net/netip"
	"os"
	"os/exec"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
	"golang.org/x/sys/unix"
)

// serveBoth answers "pod" to TCP connections and UDP packets to a port inside a sandbox.
func serveBoth(t *testing.T, pid int, port string) {
	t.Helper()
	require.NoError(t, inside(pid, func() error {
		lis, err := net.Listen("tcp4", ":"+port)
		if err != nil {
			return err
		}
		t.Cleanup(func() { _ = lis.Close() })
		packets, err := net.ListenPacket("udp4", ":"+port)
		if err != nil {
			return err
		}
		t.Cleanup(func() { _ = packets.Close() })
		go func() {
			for conn, err := lis.Accept(); err == nil; conn, err = lis.Accept() {
				_, _ = conn.Write([]byte("pod"))
				_ = conn.Close()
			}
		}()
		go func() {
			buffer := make([]byte, 16)
			for _, from, err := packets.ReadFrom(buffer); err == nil; _, from, err = packets.ReadFrom(buffer) {
				_, _ = packets.WriteTo([]byte("pod"), from)
			}
		}()
		return nil
	}))
}

// call asks a port what it says; "" when nothing answers.
func call(network, addr string) string {
	conn, err := net.DialTimeout(network, addr, time.Second)
	if err != nil {
		return ""
	}
	defer conn.Close()
	_ = conn.SetDeadline(time.Now().Add(time.Second))
	if network == "udp4" {
		_, _ = conn.Write([]byte("?"))
	}
	buffer := make([]byte, 16)
	n, _ := conn.Read(buffer)
	return string(buffer[:n])
}

func TestHostPortsLeadToPods(t *testing.T) {
	if os.Getuid() != 0 {
		t.Skip("needs root")
	}
	ctx := context.Background()
	cluster := "porttest" + itoa(os.Getpid())
	cidrs := []string{"10.231.3.0/24", "10.231.4.0/24"}
	start := func(i int) *Network {
		n := New(Config{Cluster: cluster, Node: "n" + itoa(i), ClusterCIDRs: []netip.Prefix{netip.MustParsePrefix("10.231.0.0/16")}})
		t.Cleanup(n.Close)
		require.NoError(t, n.Setup(ctx, netip.MustParsePrefix(cidrs[i])))
		return n
	}
	var pids []int
	var addrs []netip.Addr
	var nets []*Network
	for i := range cidrs {
		t.Cleanup(func() { require.NoError(t, Cleanup(ctx, cluster, "n"+itoa(i))) })
		n, pid, id := start(i), sandbox(t), cluster+itoa(i)
		addr, err := n.Allocate(id)
		require.NoError(t, err)
		require.NoError(t, n.Attach(ctx, id, pid, addr))
		serveBoth(t, pid, "80")
		pids, addrs, nets = append(pids, pid), append(addrs, addr), append(nets, n)
	}
	const port, only = 21080, 21081
	ports := []HostPort{
		{Protocol: unix.IPPROTO_TCP, Port: port, Target: 80}, {Protocol: unix.IPPROTO_UDP, Port: port, Target: 80},
		{IP: netip.MustParseAddr("127.0.0.1"), Protocol: unix.IPPROTO_TCP, Port: only, Target: 80},
	}
	gateways := []string{"10.231.3.1", "10.231.4.1"} // addresses of the machine
	reachable := func(want string) {
		t.Helper()
		for _, network := range []string{"tcp4", "udp4"} {
			for _, host := range append(gateways, "127.0.0.1") {
				require.Equal(t, want, call(network, host+":"+itoa(port)), "%s from the machine to %s", network, host)
			}
			for i, pid := range pids {
				require.NoError(t, inside(pid, func() error {
					require.Equal(t, want, call(network, gateways[0]+":"+itoa(port)), "%s from pod %d", network, i)
					return nil
				}))
			}
		}
		require.Equal(t, want, call("tcp4", "127.0.0.1:"+itoa(only)))
	}
	reachable("")
	require.NoError(t, nets[0].Publish(addrs[0], ports))
	require.NoError(t, nets[0].Publish(addrs[0], ports), "again changes nothing")
	reachable("pod")
	require.Empty(t, call("tcp4", gateways[0]+":"+itoa(only)), "a port of one address answers there only")
	require.NoError(t, nets[0].Setup(ctx, netip.MustParsePrefix(cidrs[0])))
	reachable("pod")

	err := nets[1].Publish(addrs[1], []HostPort{ports[0], {Protocol: unix.IPPROTO_TCP, Port: only + 1, Target: 80}})
	require.ErrorIs(t, err, ErrPortTaken)
	require.ErrorContains(t, err, "21080/TCP")
	require.Equal(t, "pod", call("tcp4", "127.0.0.1:"+itoa(only+1)), "what is free is given")

	// An agent that starts again goes on with what is there, and removes what nobody has any more.
	again := start(0)
	require.True(t, again.Reserve(addrs[0], cluster+"0"))
	require.NoError(t, again.SweepPorts())
	reachable("pod")
	again.Release(addrs[0], cluster+"0")
	require.NoError(t, again.SweepPorts())
	reachable("")
	require.NoError(t, nets[1].Publish(addrs[1], nil))
	tables, err := exec.Command("nft", "list", "tables").Output()
	require.NoError(t, err)
	require.NotContains(t, string(tables), portTablePrefix+cluster, "no table is left")
}
