package network

import (
	"context"
	"net/netip"
	"sync"
)

// Addresses hands out addresses and wires nothing: the network of pods that are only pretended.
type Addresses struct {
	pool  pool
	once  sync.Once
	ready chan struct{}
}

// NewAddresses returns a network that waits for its podCIDR.
func NewAddresses() *Addresses { return &Addresses{ready: make(chan struct{})} }

// Setup implements the agent's network.
func (a *Addresses) Setup(_ context.Context, podCIDR netip.Prefix) error {
	a.pool.serve(podCIDR.Masked())
	a.once.Do(func() { close(a.ready) })
	return nil
}

// Wait implements the agent's network.
func (a *Addresses) Wait(ctx context.Context) error {
	select {
	case <-a.ready:
		return nil
	case <-ctx.Done():
		return ctx.Err()
	}
}

// Allocate takes a free address for an owner.
func (a *Addresses) Allocate(owner string) (netip.Addr, error) { return a.pool.take(owner) }

// Reserve takes an address that a pod was found with; false when it is another's.
func (a *Addresses) Reserve(addr netip.Addr, owner string) bool { return a.pool.reserve(addr, owner) }

// Release gives an owner's address back.
func (a *Addresses) Release(addr netip.Addr, owner string) { a.pool.release(addr, owner) }

// Attach does nothing.
func (a *Addresses) Attach(context.Context, string, int, netip.Addr) error { return nil }

// Attached is true for every sandbox.
func (a *Addresses) Attached(string) bool { return true }

// Detach does nothing.
func (a *Addresses) Detach(string) error { return nil }

// Publish does nothing.
func (a *Addresses) Publish(netip.Addr, []HostPort) error { return nil }

// SweepPorts does nothing.
func (a *Addresses) SweepPorts() error { return nil }

// Close does nothing.
func (a *Addresses) Close() {}
