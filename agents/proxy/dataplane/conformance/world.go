package conformance

import (
	"bufio"
	"context"
	"fmt"
	"net"
	"net/netip"
	"os/exec"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
	"github.com/vishvananda/netlink"

	"karve.dev/karve/agents/proxy/dataplane"
)

// The world of the suite: the process's own namespace is the node. Behind its bridge are pods; behind one link is
// the world outside, which is also the way out (the default route); behind another a second node with a pod.
const (
	bridgeName    = "pods0"
	bridgeAddress = "10.80.0.1/24"
	nodeAddress   = "192.168.77.1"
	outsideAddr   = "192.168.77.2"
	remotePod     = "10.80.1.10"
	podPort       = 8080
)

var networks = dataplane.Networks{
	Pods:     []netip.Prefix{netip.MustParsePrefix("10.80.0.0/16")},
	Services: []netip.Prefix{netip.MustParsePrefix("10.96.0.0/16")},
}

type world struct {
	t       *testing.T
	pods    []*pod
	remote  *pod
	outside *space
}

// pod serves TCP and UDP on podPort: every connection and datagram is answered with the pod's name and the client's
// address, and TCP lines after that are echoed.
type pod struct {
	name  string
	addr  netip.Addr
	space *space
}

func (p *pod) endpoint() dataplane.Endpoint {
	return dataplane.Endpoint{Addr: netip.AddrPortFrom(p.addr, podPort), OnHost: p.name != "remote"}
}

func newWorld(t *testing.T, pods int) *world {
	w := &world{t: t}
	must := func(err error) { t.Helper(); require.NoError(t, err) }
	loopback, err := netlink.LinkByName("lo")
	must(err)
	must(netlink.LinkSetUp(loopback))
	must(netlink.LinkAdd(&netlink.Bridge{LinkAttrs: netlink.LinkAttrs{Name: bridgeName}}))
	bridge, err := netlink.LinkByName(bridgeName)
	must(err)
	t.Cleanup(func() { _ = netlink.LinkDel(bridge) })
	must(setUp(bridge, bridgeAddress))
	w.dockerLikeFirewall()
	for i := range pods {
		w.pods = append(w.pods, w.addPod(i, bridge))
	}
	w.addOutside()
	w.addRemote()
	return w
}

// dockerLikeFirewall sets what Docker and the node agent set on a real machine.
func (w *world) dockerLikeFirewall() {
	if _, err := exec.LookPath("iptables"); err != nil {
		return
	}
	for _, args := range []string{"-P FORWARD DROP", "-A FORWARD -i " + bridgeName + " -j ACCEPT", "-A FORWARD -o " + bridgeName + " -j ACCEPT"} {
		out, err := exec.Command("iptables", append([]string{"-w", "5"}, strings.Fields(args)...)...).CombinedOutput()
		require.NoError(w.t, err, string(out))
	}
	w.t.Cleanup(func() {
		_ = exec.Command("iptables", "-w", "5", "-F", "FORWARD").Run()
		_ = exec.Command("iptables", "-w", "5", "-P", "FORWARD", "ACCEPT").Run()
	})
}

func setUp(link netlink.Link, cidr string) error {
	addr, err := netlink.ParseAddr(cidr)
	if err != nil {
		return err
	}
	if err := netlink.AddrAdd(link, addr); err != nil {
		return fmt.Errorf("address %s: %w", cidr, err)
	}
	return netlink.LinkSetUp(link)
}

// connect makes a link from the node into a new namespace, with an address and a default route there.
func (w *world) connect(name, cidr, gateway string) (*space, netlink.Link) {
	s, err := newSpace()
	require.NoError(w.t, err)
	w.t.Cleanup(func() { _ = s.handle.Close() })
	attrs := netlink.LinkAttrs{Name: name}
	require.NoError(w.t, netlink.LinkAdd(&netlink.Veth{LinkAttrs: attrs, PeerName: "eth0", PeerNamespace: netlink.NsFd(int(s.handle))}))
	link, err := netlink.LinkByName(name)
	require.NoError(w.t, err)
	w.t.Cleanup(func() { _ = netlink.LinkDel(link) })
	require.NoError(w.t, netlink.LinkSetUp(link))
	require.NoError(w.t, s.do(func() error {
		for name, cidr := range map[string]string{"lo": "", "eth0": cidr} {
			inner, err := netlink.LinkByName(name)
			if err != nil {
				return err
			}
			if cidr == "" {
				err = netlink.LinkSetUp(inner)
			} else {
				err = setUp(inner, cidr)
			}
			if err != nil {
				return err
			}
		}
		if gateway == "" {
			return nil
		}
		return netlink.RouteAdd(&netlink.Route{Gw: net.ParseIP(gateway)})
	}))
	return s, link
}

func (w *world) addPod(i int, bridge netlink.Link) *pod {
	p := &pod{name: fmt.Sprintf("pod%d", i), addr: netip.AddrFrom4([4]byte{10, 80, 0, byte(10 + i)})}
	space, link := w.connect(p.name, p.addr.String()+"/24", "10.80.0.1")
	p.space = space
	require.NoError(w.t, netlink.LinkSetMaster(link, bridge))
	require.NoError(w.t, netlink.LinkSetHairpin(link, true))
	w.serve(p)
	return p
}

// addOutside makes the world outside: the node's default route leads there, and whatever of a Service's address
// arrives there has leaked.
func (w *world) addOutside() {
	space, link := w.connect("uplink0", outsideAddr+"/24", nodeAddress)
	w.outside = space
	require.NoError(w.t, setUp(link, nodeAddress+"/24"))
	require.NoError(w.t, netlink.RouteAdd(&netlink.Route{Gw: net.ParseIP(outsideAddr)}))
	require.NoError(w.t, space.do(func() error {
		lo, err := netlink.LinkByName("lo")
		if err != nil {
			return err
		}
		_, services, _ := net.ParseCIDR(networks.Services[0].String())
		return netlink.RouteAdd(&netlink.Route{LinkIndex: lo.Attrs().Index, Dst: services, Type: 2 /* local */, Table: 255, Scope: netlink.SCOPE_HOST})
	}))
	leak := &pod{name: "outside", space: space}
	w.serve(leak)
}

// addRemote makes a second node with one pod. It knows no way to the outside: connections from there get an answer
// only when they come from the node's address.
func (w *world) addRemote() {
	space, link := w.connect("node1", "192.168.78.2/24", "")
	require.NoError(w.t, setUp(link, "192.168.78.1/24"))
	_, pods, _ := net.ParseCIDR("10.80.1.0/24")
	require.NoError(w.t, netlink.RouteAdd(&netlink.Route{Dst: pods, Gw: net.ParseIP("192.168.78.2")}))
	w.remote = &pod{name: "remote", addr: netip.MustParseAddr(remotePod), space: space}
	require.NoError(w.t, space.do(func() error {
		lo, err := netlink.LinkByName("lo")
		if err != nil {
			return err
		}
		addr, _ := netlink.ParseAddr(remotePod + "/32")
		_, here, _ := net.ParseCIDR("10.80.0.0/24")
		if err := netlink.RouteAdd(&netlink.Route{Dst: here, Gw: net.ParseIP("192.168.78.1")}); err != nil {
			return err
		}
		return netlink.AddrAdd(lo, addr)
	}))
	w.serve(w.remote)
}

func (w *world) serve(p *pod) {
	address := fmt.Sprintf(":%d", podPort)
	require.NoError(w.t, p.space.do(func() error {
		lis, err := net.Listen("tcp4", address)
		if err != nil {
			return err
		}
		packets, err := net.ListenPacket("udp4", address)
		if err != nil {
			return err
		}
		var serving sync.WaitGroup
		serving.Go(func() { p.acceptTCP(lis) })
		serving.Go(func() { p.answerUDP(packets) })
		w.t.Cleanup(func() { _ = lis.Close(); _ = packets.Close(); serving.Wait() })
		return nil
	}))
}

func (p *pod) acceptTCP(lis net.Listener) {
	for {
		c, err := lis.Accept()
		if err != nil {
			return
		}
		go func() {
			defer c.Close()
			fmt.Fprintf(c, "%s %s\n", p.name, c.RemoteAddr())
			for in := bufio.NewScanner(c); in.Scan(); {
				fmt.Fprintln(c, in.Text())
			}
		}()
	}
}

func (p *pod) answerUDP(conn net.PacketConn) {
	buf := make([]byte, 100)
	for {
		_, from, err := conn.ReadFrom(buf)
		if err != nil {
			return
		}
		_, _ = conn.WriteTo(fmt.Appendf(nil, "%s %s", p.name, from), from)
	}
}

// patience bounds every wait of the suite: generous, because the machine may be an emulated one.
const patience = 15 * time.Second

// dial opens a connection from a namespace (nil: the node).
func dial(from *space, network, address string, timeout time.Duration) (net.Conn, error) {
	var conn net.Conn
	err := from.do(func() error {
		ctx, cancel := context.WithTimeout(context.Background(), timeout)
		defer cancel()
		var d net.Dialer
		var err error
		conn, err = d.DialContext(ctx, network+"4", address)
		return err
	})
	return conn, err
}

// ask connects, reads who answered and from which address it was asked, and hangs up.
func ask(from *space, network, address string) (name, seenFrom string, err error) {
	conn, err := dial(from, network, address, patience)
	if err != nil {
		return "", "", err
	}
	defer conn.Close()
	return who(conn)
}

// who reads the greeting of a pod; a UDP socket asks for it first.
func who(conn net.Conn) (name, seenFrom string, err error) {
	if _, packets := conn.(*net.UDPConn); packets {
		if _, err := conn.Write([]byte("?")); err != nil {
			return "", "", err
		}
	}
	_ = conn.SetReadDeadline(time.Now().Add(patience))
	buf := make([]byte, 200)
	n, err := conn.Read(buf)
	if err != nil {
		return "", "", err
	}
	name, seenFrom, _ = strings.Cut(strings.TrimSpace(string(buf[:n])), " ")
	host, _, _ := net.SplitHostPort(seenFrom)
	return name, host, nil
}
