package network

import (
	"errors"
	"fmt"

	"github.com/vishvananda/netlink"
	"golang.org/x/sys/unix"
)

// Detach takes away what Attach has made for a sandbox that has been removed. The kernel would, in its own time.
func (n *Network) Detach(sandbox string) error {
	n.mu.Lock()
	err := n.open()
	nl := n.nl
	n.mu.Unlock()
	if err != nil {
		return err
	}
	link, err := nl.LinkByName(hostInterface(sandbox))
	if errors.As(err, new(netlink.LinkNotFoundError)) {
		return nil
	}
	if err != nil {
		return fmt.Errorf("find interface %s: %w", hostInterface(sandbox), err)
	}
	err = nl.LinkDel(link)
	if err != nil && !errors.As(err, new(netlink.LinkNotFoundError)) && !errors.Is(err, unix.ENODEV) {
		return fmt.Errorf("remove interface %s: %w", link.Attrs().Name, err)
	}
	return nil
}
