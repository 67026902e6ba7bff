package cluster

import (
	"errors"
	"fmt"
	"io"
	"maps"
	"net"
	"net/netip"
	"os"
	"path/filepath"
	"slices"
	"syscall"
)

// The ranges that a new cluster takes are the first free ones of these: 10.244.0.0/16 to 10.254.0.0/16, then 10.243.0.0/16
// and down for pods, and 10.96.0.0/16, … for Services.
const (
	firstPodNet     = 244
	lastPodNet      = 254
	firstServiceNet = 96
	netChoices      = 43
)

func podNet(choice int) netip.Prefix {
	if n := firstPodNet + choice; n <= lastPodNet {
		return net16(n)
	}
	return net16(lastPodNet - choice)
}

// ChooseRanges finds address ranges that neither this machine's interfaces nor its other clusters use.
func ChooseRanges(root string) (pods, services netip.Prefix, err error) {
	taken, err := takenRanges(root)
	if err != nil {
		return pods, services, err
	}
	for i := range netChoices {
		pods, services = podNet(i), net16(firstServiceNet+i)
		if !overlaps(taken, pods) && !overlaps(taken, services) {
			return pods, services, nil
		}
	}
	return pods, services, errors.New("no free address range for pods and Services was found: choose with --cluster-cidr and --service-cidr")
}

// rangesLock is held by who makes a new cluster on this machine.
const rangesLock = DefaultRoot + "/.ranges.lock"

// LockRanges waits until nobody else on this machine is about to make a cluster. It is held from ChooseRanges until the new
// cluster runs, when its interfaces and settings show what it has taken; closing what it returns lets go.
func LockRanges() (io.Closer, error) {
	if err := os.MkdirAll(DefaultRoot, 0o700); err != nil {
		return nil, err
	}
	file, err := os.OpenFile(rangesLock, os.O_CREATE|os.O_RDWR, 0o600)
	if err != nil {
		return nil, err
	}
	if err := syscall.Flock(int(file.Fd()), syscall.LOCK_EX); err != nil {
		_ = file.Close()
		return nil, fmt.Errorf("lock %s: %w", rangesLock, err)
	}
	return file, nil
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
	dirs := slices.Collect(maps.Values(Known()))
	for _, file := range others {
		dirs = append(dirs, Dir(filepath.Dir(file)))
	}
	for _, dir := range dirs {
		// A neighbour whose settings cannot be read keeps nothing from us.
		if s, ok, err := dir.Load(); err == nil && ok {
			taken = append(taken, s.ClusterCIDR, s.ServiceCIDR)
		}
	}
	return taken, nil
}
