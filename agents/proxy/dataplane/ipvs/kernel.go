package ipvs

import (
	"context"
	"fmt"
	"net"
	"net/netip"
	"slices"
	"syscall"

	"github.com/mqliang/libipvs"

	"karve.dev/karve/agents/proxy/dataplane"
)

// Translation between plans and libipvs.

const (
	scheduler      = "rr"
	flagPersistent = 0x1
	allFlags       = ^uint32(0)
	// masqueraded destinations get the packet with its destination replaced.
	masquerade = libipvs.IP_VS_CONN_F_MASQ
)

func familyOf(a netip.Addr) libipvs.AddressFamily {
	if a.Is6() {
		return syscall.AF_INET6
	}
	return syscall.AF_INET
}

func service(k key, affinity uint32) *libipvs.Service {
	s := &libipvs.Service{
		Address: net.IP(k.Addr.AsSlice()), Protocol: libipvs.Protocol(k.Protocol), Port: k.Port, AddressFamily: familyOf(k.Addr),
		SchedName: scheduler, Netmask: 0xffffffff, Flags: libipvs.Flags{Mask: allFlags},
	}
	if k.Addr.Is6() {
		s.Netmask = 128
	}
	if affinity > 0 {
		s.Flags.Flags, s.Timeout = flagPersistent, affinity
	}
	return s
}

func destination(d netip.AddrPort, weight uint32) *libipvs.Destination {
	return &libipvs.Destination{
		AddressFamily: familyOf(d.Addr()), Address: net.IP(d.Addr().AsSlice()), Port: d.Port(), FwdMethod: masquerade, Weight: weight,
	}
}

// carryOut performs a step. What is so already is no error: another node of this host may have been first.
func (h *handle) carryOut(ctx context.Context, s step) error {
	svc, dst := service(s.key, s.affinity), &libipvs.Destination{}
	if s.destination.IsValid() {
		dst = destination(s.destination, s.weight)
	}
	_, err := call(ctx, h, func(i libipvs.IPVSHandle) (struct{}, error) {
		switch s.verb {
		case addService:
			return struct{}{}, insist(i.NewService(svc), syscall.EEXIST, func() error { return i.UpdateService(svc) })
		case editService:
			return struct{}{}, i.UpdateService(svc)
		case removeService:
			return struct{}{}, insist(i.DelService(svc), syscall.ESRCH, nil)
		case addDestination:
			return struct{}{}, insist(i.NewDestination(svc, dst), syscall.EEXIST, func() error { return i.UpdateDestination(svc, dst) })
		case editDestination:
			return struct{}{}, insist(i.UpdateDestination(svc, dst), syscall.ENOENT, func() error { return i.NewDestination(svc, dst) })
		}
		return struct{}{}, insist(insist(i.DelDestination(svc, dst), syscall.ENOENT, nil), syscall.ESRCH, nil)
	})
	return err
}

// insist takes an expected error for success, after doing what is to be done then.
func insist(err error, expected syscall.Errno, then func() error) error {
	if err == nil || errno(err) != expected {
		return err
	}
	if then == nil {
		return nil
	}
	return then()
}

// list reads the virtual services that own accepts, without their destinations.
func (h *handle) list(ctx context.Context, own func(key) bool) (map[key]*virtual, error) {
	services, err := call(ctx, h, libipvs.IPVSHandle.ListServices)
	if err != nil {
		return nil, fmt.Errorf("list IPVS services: %w", err)
	}
	out := map[key]*virtual{}
	for _, s := range services {
		addr, ok := netip.AddrFromSlice(s.Address)
		if !ok || s.FWMark != 0 {
			continue
		}
		k := key{Addr: addr.Unmap(), Protocol: dataplane.Protocol(s.Protocol), Port: s.Port}
		if s.AddressFamily == syscall.AF_INET6 {
			k.Addr = addr
		}
		if !own(k) {
			continue
		}
		v := &virtual{destinations: map[netip.AddrPort]uint32{}}
		if s.Flags.Flags&flagPersistent != 0 {
			v.affinity = s.Timeout
		}
		out[k] = v
	}
	return out, nil
}

// read is list with destinations.
func (h *handle) read(ctx context.Context, own func(key) bool) (map[key]*virtual, error) {
	out, err := h.list(ctx, own)
	if err != nil {
		return nil, err
	}
	for k, v := range out {
		found, err := h.destinations(ctx, k)
		if err != nil {
			return nil, err
		}
		for _, d := range found {
			v.destinations[d.addr] = d.weight
		}
	}
	return out, nil
}

// loadedDestination is a destination as the kernel has it.
type loadedDestination struct {
	addr        netip.AddrPort
	weight      uint32
	connections uint32
}

func (h *handle) destinations(ctx context.Context, k key) ([]loadedDestination, error) {
	found, err := call(ctx, h, func(i libipvs.IPVSHandle) ([]*libipvs.Destination, error) {
		return i.ListDestinations(service(k, 0))
	})
	if err != nil {
		return nil, fmt.Errorf("list IPVS destinations of %s port %d: %w", k.Addr, k.Port, err)
	}
	out := make([]loadedDestination, 0, len(found))
	for _, d := range slices.DeleteFunc(found, func(d *libipvs.Destination) bool { return d == nil }) {
		if addr, ok := netip.AddrFromSlice(d.Address); ok {
			if !k.Addr.Is6() {
				addr = addr.Unmap()
			}
			out = append(out, loadedDestination{netip.AddrPortFrom(addr, d.Port), d.Weight, d.ActiveConns + d.InactConns + d.PersistConns})
		}
	}
	return out, nil
}
