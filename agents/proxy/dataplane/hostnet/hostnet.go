// Package hostnet prepares a host's network for balancing Services, whatever the backend: kernel settings, an
// interface that keeps cluster addresses on the machine, and leave to forward where Docker forbids it.
package hostnet

import (
	"context"
	"errors"
	"fmt"
	"net"
	"net/netip"
	"os"
	"os/exec"
	"strings"

	"github.com/vishvananda/netlink"
	"go.uber.org/zap"
	"golang.org/x/sys/unix"

	"karve.dev/karve/agents/proxy/dataplane"
)

// Host is a prepared host.
type Host struct {
	id       dataplane.Identity
	networks dataplane.Networks
	log      *zap.Logger
	warned   map[string]bool
}

// setting is a kernel switch under /proc/sys/net.
type setting struct {
	path, value string
	required    bool
	module      string // loaded when the path does not exist
	why         string
}

var settings = []setting{
	{path: "ipv4/ip_forward", value: "1", required: true, why: "packets must pass from the host to pods"},
	{path: "ipv4/conf/all/route_localnet", value: "1", why: "node ports do not answer on 127.0.0.1"},
	{path: "bridge/bridge-nf-call-iptables", value: "1", module: "br_netfilter", why: "pods of one node may not reach each other through Services"},
}

// Prepare brings the host into shape. It returns an error only where nothing would work otherwise.
func Prepare(ctx context.Context, id dataplane.Identity, networks dataplane.Networks, log *zap.Logger) (*Host, error) {
	h := &Host{id: id, networks: networks, log: log, warned: map[string]bool{}}
	for _, s := range settings {
		if err := s.ensure(ctx); err != nil && s.required {
			return nil, fmt.Errorf("%w: %s; set it by hand or run as root", err, s.why)
		} else if err != nil {
			h.warn(s.why, err)
		}
	}
	return h, h.Repair(ctx)
}

// Repair puts back what others may have removed since. It is cheap when nothing is missing.
func (h *Host) Repair(ctx context.Context) error {
	for _, s := range settings {
		if err := s.ensure(ctx); err != nil {
			h.warn(s.why, err)
		}
	}
	if err := h.keepAtHome(); err != nil {
		h.warn("addresses of Services may be unreachable without a default route", err)
	}
	if err := allowForwarding(ctx, h.id, h.networks.Pods); err != nil {
		h.warn("node ports may not reach pods of other nodes", err)
	}
	return nil
}

// warn logs each cause once.
func (h *Host) warn(effect string, err error) {
	if !h.warned[effect] {
		h.warned[effect] = true
		h.log.Warn(effect, zap.Error(err))
	}
}

func (s setting) ensure(ctx context.Context) error {
	path := "/proc/sys/net/" + s.path
	have, err := os.ReadFile(path)
	if errors.Is(err, os.ErrNotExist) && s.module != "" {
		if out, err := exec.CommandContext(ctx, "modprobe", s.module).CombinedOutput(); err != nil {
			return fmt.Errorf("load module %s: %w %s", s.module, err, strings.TrimSpace(string(out)))
		}
		have, err = os.ReadFile(path)
	}
	if err != nil {
		return err
	}
	if strings.TrimSpace(string(have)) == s.value {
		return nil
	}
	return os.WriteFile(path, []byte(s.value), 0o644)
}

// keepAtHome routes the ranges of Services to an interface that leads nowhere: an address there is translated or
// refused before a route matters, but a route must exist, also on a machine without a default route, and must not
// lead outside.
func (h *Host) keepAtHome() error {
	link, err := Interface(h.id)
	if err != nil {
		return err
	}
	for _, p := range h.networks.Services {
		route := &netlink.Route{LinkIndex: link.Attrs().Index, Dst: ipNet(p), Scope: netlink.SCOPE_LINK}
		if p.Addr().Is6() {
			route.Scope = netlink.SCOPE_UNIVERSE
		}
		if err := netlink.RouteAdd(route); err != nil && !errors.Is(err, unix.EEXIST) {
			return fmt.Errorf("route %s to %s: %w", p, link.Attrs().Name, err)
		}
	}
	return nil
}

// Interface returns the cluster's interface that leads nowhere, made and up. It is a bridge without ports, since
// pods need bridges anyway and not every kernel has dummy interfaces.
func Interface(id dataplane.Identity) (netlink.Link, error) {
	name := id.Interface()
	link, err := netlink.LinkByName(name)
	if err != nil {
		err := netlink.LinkAdd(&netlink.Bridge{LinkAttrs: netlink.LinkAttrs{Name: name}})
		if err != nil && !errors.Is(err, unix.EEXIST) {
			return nil, fmt.Errorf("make interface %s: %w", name, err)
		}
		if link, err = netlink.LinkByName(name); err != nil {
			return nil, fmt.Errorf("interface %s: %w", name, err)
		}
	}
	if link.Attrs().Flags&net.FlagUp != 0 {
		return link, nil
	}
	if err := netlink.LinkSetUp(link); err != nil {
		return nil, fmt.Errorf("bring up %s: %w", name, err)
	}
	return link, nil
}

// Cleanup removes what Prepare made for the whole cluster. Kernel settings stay: others may rely on them by now.
func Cleanup(ctx context.Context, id dataplane.Identity) error {
	var errs []error
	if link, err := netlink.LinkByName(id.Interface()); err == nil {
		errs = append(errs, netlink.LinkDel(link))
	}
	return errors.Join(append(errs, forbidForwarding(ctx, id))...)
}

func ipNet(p netip.Prefix) *net.IPNet {
	return &net.IPNet{IP: p.Masked().Addr().AsSlice(), Mask: net.CIDRMask(p.Bits(), p.Addr().BitLen())}
}
