package worker

import (
	"context"
	"errors"
	"net/netip"
	"time"

	"golang.org/x/sys/unix"
	corev1 "k8s.io/api/core/v1"

	"karve.dev/karve/agents/node/network"
	"karve.dev/karve/agents/node/podstate"
	"karve.dev/karve/agents/node/runtime"
)

// portRetry is how long a port that another node has is left alone.
const portRetry = 10 * time.Second

// publishing is what is known about a pod's ports on the machine.
type publishing struct {
	done    bool      // they lead to the pod
	retryAt time.Time // when to try again, after a failure
	said    string    // the last failure that an event has told of
}

var protocolNumbers = map[corev1.Protocol]uint8{"": unix.IPPROTO_TCP, corev1.ProtocolTCP: unix.IPPROTO_TCP, corev1.ProtocolUDP: unix.IPPROTO_UDP, corev1.ProtocolSCTP: unix.IPPROTO_SCTP}

// hostPorts are the ports of the machine that a pod asks for.
func hostPorts(pod *corev1.Pod) []network.HostPort {
	if pod.Spec.HostNetwork {
		return nil
	}
	var out []network.HostPort
	for _, containers := range [][]corev1.Container{pod.Spec.InitContainers, pod.Spec.Containers} {
		for i := range containers {
			for _, p := range containers[i].Ports {
				protocol, known := protocolNumbers[p.Protocol]
				if p.HostPort == 0 || !known {
					continue
				}
				port := network.HostPort{Protocol: protocol, Port: uint16(p.HostPort), Target: uint16(p.ContainerPort)}
				if ip, err := netip.ParseAddr(p.HostIP); err == nil && !ip.IsUnspecified() {
					if port.IP = ip.Unmap(); !port.IP.Is4() {
						continue // pods have no address of that family
					}
				}
				out = append(out, port)
			}
		}
	}
	return out
}

// keepPorts publishes the ports of a running pod and takes them back when its sandbox has ended. mu must be held.
func (w *worker) keepPorts(ctx context.Context, now time.Time) {
	const key = "PORTS" // no container can be called so
	if _, busy := w.obs.Busy[key]; busy || now.Before(w.ports.retryAt) || !w.address.IsValid() {
		return
	}
	s := w.obs.Sandbox()
	want := hostPorts(w.pod)
	if s == nil || s.State != runtime.Running || w.obs.Busy[s.ID].Verb == podstate.Remove {
		want = nil
	}
	if w.ports.done == (len(want) > 0) || len(want) > 0 && !w.obs.Wired {
		return
	}
	addr := w.address
	w.launch(ctx, key, podstate.Op{}, func(context.Context) { w.publish(addr, want) })
}

// portsAt is when to look at the ports again. mu must be held.
func (w *worker) portsAt() time.Time {
	if w.ports.done || w.obs.Gone || w.pod.DeletionTimestamp != nil {
		return time.Time{}
	}
	return w.ports.retryAt
}

// takePortsBack does so before the pod's address goes to another. mu must not be held.
func (w *worker) takePortsBack() {
	w.mu.Lock()
	addr := w.address
	w.mu.Unlock()
	if addr.IsValid() {
		w.publish(addr, nil)
	}
}

// publish makes ports lead to the pod's address, or with none takes them back. A pod runs also without its ports: an
// event says so. mu must not be held.
func (w *worker) publish(addr netip.Addr, ports []network.HostPort) {
	err := w.pool.cfg.Network.Publish(addr, ports)
	w.mu.Lock()
	w.ports.done, w.ports.retryAt = err == nil && len(ports) > 0, time.Time{}
	if err == nil {
		w.ports.said = ""
		w.mu.Unlock()
		return
	}
	w.ports.retryAt = time.Now().Add(portRetry)
	say := w.ports.said != err.Error()
	w.ports.said = err.Error()
	w.mu.Unlock()
	if !say {
		return
	}
	reason := "FailedHostPort"
	if errors.Is(err, network.ErrPortTaken) {
		reason = "HostPortConflict"
	}
	w.event("", corev1.EventTypeWarning, reason, "The pod is not reachable on all of its host ports: %v", err)
}
