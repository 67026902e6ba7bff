package cluster

import (
	"errors"
	"net"
	"net/netip"
	"path/filepath"
)

// The ranges that a new cluster takes are the first free ones of these: 10.244.0.0/16, 10.245.0.0/16, … for pods and
// 10.96.0.0/16, … for Services.
const (
	firstPodNet     = 244
	firstServiceNet = 96
	netChoices      = 11
)

// ChooseRanges finds address ranges that neither this machine's interfaces nor its other clusters use.
func ChooseRanges(root string) (pods, services netip.Prefix, err error) {
	taken, err := takenRanges(root)
	if err != nil {
		return pods, services, err
	}
	for i := range netChoices {
		pods, services = net16(firstPodNet+i), net16(firstServiceNet+i)
		if !overlaps(taken, pods) && !overlaps(taken, services) {
			return pods, services, nil
		}
	}
	return pods, services, errors.New("no free address range for pods and Services was found: choose with --cluster-cidr and --service-cidr")
}

func net16(second int) netip.Prefix {
	return netip.PrefixFrom(netip.AddrFrom4([4]byte{10, byte(second)}), 16)
}

func overlaps(taken []netip.Prefix, p netip.Prefix) bool {
	for _, t := range taken {
		if t.Overlaps(p) {
			return true
		}
	}
	return false
}

func takenRanges(root string) ([]netip.Prefix, error) {
	var taken []netip.Prefix
	addrs, err := net.InterfaceAddrs()
	if err != nil {
		return nil, err
	}
	for _, a := range addrs {
		if p, err := netip.ParsePrefix(a.String()); err == nil {
			taken = append(taken, p.Masked())
		}
	}
	others, err := filepath.Glob(filepath.Join(root, "*", "cluster.json"))
	if err != nil {
		return nil, err
	}
	for _, file := range others {
		// A neighbour whose settings cannot be read keeps nothing from us.
		if s, ok, err := Dir(filepath.Dir(file)).Load(); err == nil && ok {
			taken = append(taken, s.ClusterCIDR, s.ServiceCIDR)
		}
	}
	return taken, nil
}
