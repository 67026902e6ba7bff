// Package reach connects the control plane to what runs in the cluster: to the endpoints of Services, to pods and to nodes.
//
// A pod is reached through the agent of its node, whose connection the API service has anyway. So the control plane needs
// no route to pods, nor does it take part in the balancing of Services.
package reach

import (
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"net"
	"strconv"
	"time"

	"google.golang.org/grpc"
	corev1 "k8s.io/api/core/v1"
	discoveryv1 "k8s.io/api/discovery/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	"k8s.io/apimachinery/pkg/labels"
	"k8s.io/apimachinery/pkg/runtime/schema"

	"karve.dev/karve/services/api/codec"
	"karve.dev/karve/services/api/registry"
	"karve.dev/karve/services/api/watch"
)

var (
	gvkService = corev1.SchemeGroupVersion.WithKind("Service")
	gvkPod     = corev1.SchemeGroupVersion.WithKind("Pod")
	gvkNode    = corev1.SchemeGroupVersion.WithKind("Node")
	gvkSlice   = discoveryv1.SchemeGroupVersion.WithKind("EndpointSlice")
)

const (
	// attempts is how many endpoints of a Service are tried before a connection fails.
	attempts = 3
	// dialTimeout bounds each of them.
	dialTimeout = 10 * time.Second
)

// Objects is what is known of the cluster; *server.Server is one. What Read returns must not be changed.
type Objects interface {
	Read(ctx context.Context, gvk schema.GroupVersionKind, namespace, name string) (registry.Object, error)
	Collection(gvk schema.GroupVersionKind) *watch.Collection
}

// Nodes returns a connection to a node's agent, which it owns: connections are kept and shared.
type Nodes interface {
	DialNode(ctx context.Context, node *corev1.Node) (grpc.ClientConnInterface, error)
}

// Reacher makes connections. It is safe for concurrent use. Its errors are Kubernetes StatusErrors.
type Reacher struct {
	objects Objects
	nodes   Nodes
	dialer  net.Dialer
}

// New returns a Reacher; nodes may be nil, then no pod is reached.
func New(objects Objects, nodes Nodes) *Reacher {
	return &Reacher{objects: objects, nodes: nodes}
}

// Dial connects to a ready endpoint of a Service's port, wherever that is: use it for what the cluster's administrators have
// set up. The caller closes the connection.
func (r *Reacher) Dial(ctx context.Context, namespace, service string, port int32) (net.Conn, error) {
	return r.dialService(ctx, namespace, service, strconv.Itoa(int(port)), true)
}

// DialService is Dial with a port that is a number or a name ("" is the port that has no name), and to pods of the
// Service's namespace only: whoever may make a Service must not reach by it what the control plane's machine reaches.
func (r *Reacher) DialService(ctx context.Context, namespace, service, port string) (net.Conn, error) {
	return r.dialService(ctx, namespace, service, port, false)
}

func (r *Reacher) dialService(ctx context.Context, namespace, service, port string, anywhere bool) (net.Conn, error) {
	obj, err := r.objects.Read(ctx, gvkService, namespace, service)
	if err != nil {
		return nil, err
	}
	svc := obj.(*corev1.Service)
	if svc.Spec.Type == corev1.ServiceTypeExternalName {
		if !anywhere {
			return nil, apierrors.NewServiceUnavailable(fmt.Sprintf("service %q names another host, where nothing is proxied to", service))
		}
		return r.dialHost(ctx, net.JoinHostPort(svc.Spec.ExternalName, port))
	}
	name, number, err := portOf(svc, port)
	if err != nil {
		return nil, err
	}
	slices, err := r.slices(namespace, service)
	if err != nil {
		return nil, err
	}
	ready := candidates(slices, name, number)
	if !anywhere {
		ready = inPods(ready)
	}
	if len(ready) == 0 {
		return nil, apierrors.NewServiceUnavailable(fmt.Sprintf("no endpoints available for service %q", service))
	}
	return r.dialAny(ctx, namespace, service, ready)
}

// dialAny connects to one of some endpoints.
func (r *Reacher) dialAny(ctx context.Context, namespace, service string, ready []endpoint) (net.Conn, error) {
	rand.Shuffle(len(ready), func(i, j int) { ready[i], ready[j] = ready[j], ready[i] })
	var failed []error
	for _, e := range ready[:min(len(ready), attempts)] {
		conn, err := r.dialEndpoint(ctx, namespace, e)
		if err == nil {
			return conn, nil
		}
		failed = append(failed, err)
		if ctx.Err() != nil {
			break
		}
	}
	return nil, apierrors.NewServiceUnavailable(fmt.Sprintf("connect to service %q: %v", service, errors.Join(failed...)))
}

// Ready counts what could serve a port of a Service: the EndpointSlices that there are, and the ready endpoints in them.
func (r *Reacher) Ready(service *corev1.Service, port int32) (slices, endpoints int, err error) {
	name, number, err := portOf(service, strconv.Itoa(int(port)))
	if err != nil {
		return 0, 0, err
	}
	all, err := r.slices(service.Namespace, service.Name)
	return len(all), len(candidates(all, name, number)), err
}

func (r *Reacher) dialEndpoint(ctx context.Context, namespace string, e endpoint) (net.Conn, error) {
	if e.pod == "" {
		return r.dialHost(ctx, net.JoinHostPort(e.address, strconv.Itoa(int(e.port))))
	}
	return r.DialPod(ctx, namespace, e.pod, e.port)
}

// dialHost connects to an address that the machine itself has a way to.
func (r *Reacher) dialHost(ctx context.Context, addr string) (net.Conn, error) {
	ctx, cancel := context.WithTimeout(ctx, dialTimeout)
	defer cancel()
	conn, err := r.dialer.DialContext(ctx, "tcp", addr)
	if err != nil {
		return nil, apierrors.NewServiceUnavailable("connect to " + addr + ": " + err.Error())
	}
	return conn, nil
}

// DialNode connects to a port of a node's own.
func (r *Reacher) DialNode(ctx context.Context, name string, port int32) (net.Conn, error) {
	obj, err := r.objects.Read(ctx, gvkNode, "", name)
	if err != nil {
		return nil, err
	}
	for _, a := range obj.(*corev1.Node).Status.Addresses {
		if a.Type == corev1.NodeInternalIP {
			return r.dialHost(ctx, net.JoinHostPort(a.Address, strconv.Itoa(int(port))))
		}
	}
	return nil, apierrors.NewServiceUnavailable(fmt.Sprintf("node %q has no address", name))
}

func (r *Reacher) slices(namespace, service string) ([]*discoveryv1.EndpointSlice, error) {
	all := r.objects.Collection(gvkSlice)
	if all == nil {
		return nil, nil
	}
	of := labels.SelectorFromSet(labels.Set{discoveryv1.LabelServiceName: service})
	page := all.List(watch.Query{Namespace: namespace, Predicate: watch.Predicate{Labels: of}})
	out := make([]*discoveryv1.EndpointSlice, len(page.Entries))
	for i, e := range page.Entries {
		out[i] = &discoveryv1.EndpointSlice{}
		if err := codec.Decode(e.Value, e.Revision, out[i]); err != nil {
			return nil, fmt.Errorf("read EndpointSlice %s/%s: %w", namespace, e.Name, err)
		}
	}
	return out, nil
}
