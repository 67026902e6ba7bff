package node

import (
	"bytes"
	"sync"

	corev1 "k8s.io/api/core/v1"
	discoveryv1 "k8s.io/api/discovery/v1"
	"k8s.io/apimachinery/pkg/types"

	"karve.dev/karve/services/api/codec"
	"karve.dev/karve/services/api/watch"
)

// A terminating pod is told to stop only when nobody sends to it any more: first its endpoints must be marked, then
// every connected proxy must have that in its kernel. Proxies that have no stream cannot be waited for, and the node
// itself bounds the wait.

// drain is one terminating pod.
type drain struct {
	namespace string
	uid       types.UID
	// services are what the proxies must have programmed, and as of which revision; nil while an endpoint still counts as
	// ready.
	services map[ServiceName]int64
	// told: the node knows.
	told bool
}

// drains are the streams with terminating pods. It is safe for concurrent use.
type drains struct {
	mu    sync.Mutex
	feeds map[*feed]struct{}
}

func (d *drains) add(f *feed) {
	d.mu.Lock()
	defer d.mu.Unlock()
	if d.feeds == nil {
		d.feeds = map[*feed]struct{}{}
	}
	d.feeds[f] = struct{}{}
}

func (d *drains) remove(f *feed) {
	d.mu.Lock()
	defer d.mu.Unlock()
	delete(d.feeds, f)
}

// signal makes the streams look at their terminating pods again.
func (d *drains) signal() {
	d.mu.Lock()
	defer d.mu.Unlock()
	for f := range d.feeds {
		f.signal()
	}
}

// beginDrain waits for the proxies on behalf of a pod that has begun to terminate.
func (o *outlet) beginDrain(r ref, pod *corev1.Pod) {
	if known := o.draining[r]; pod.DeletionTimestamp == nil || known != nil && known.uid == pod.UID {
		return
	}
	o.draining[r] = &drain{namespace: pod.Namespace, uid: pod.UID}
	o.service.hub.drains.add(o.feed) // before the first look, so that what changes after it is not missed
}

// checkDrains finds the pods that may stop now.
func (o *outlet) checkDrains() {
	if len(o.draining) == 0 {
		return
	}
	waiting := false
	for _, d := range o.draining {
		if d.told {
			continue
		}
		if d.services == nil {
			d.services = o.leftServices(d)
		}
		if d.services == nil || !o.programmed(d.services) {
			waiting = true
			continue
		}
		d.told = true
		o.drained = append(o.drained, string(d.uid))
	}
	if !waiting {
		o.service.hub.drains.remove(o.feed)
	}
}

// leftServices returns the Services that have the pod among their endpoints, and the revisions as of which none sends new
// connections to it; nil while one does.
func (o *outlet) leftServices(d *drain) map[ServiceName]int64 {
	left := map[ServiceName]int64{}
	k := o.service.hub.kinds[kindSlice]
	if k == nil {
		return left
	}
	for _, e := range k.collection.List(watch.Query{Namespace: d.namespace}).Entries {
		if !bytes.Contains(e.Value, []byte(d.uid)) {
			continue
		}
		if sendsTo(e, d.uid) {
			return nil
		}
		if service := e.Labels().Get(discoveryv1.LabelServiceName); service != "" {
			name := ServiceName{d.namespace, service}
			left[name] = max(left[name], e.Revision)
		}
	}
	return left
}

// programmed reports whether every connected proxy has come to the revisions. A Service that is gone is in no kernel.
func (o *outlet) programmed(services map[ServiceName]int64) bool {
	for name, revision := range services {
		if o.entry(ref{kindService, name.Namespace, name.Name}) != nil && !o.service.acks.ServiceAt(name, revision) {
			return false
		}
	}
	return true
}

// sendsTo reports whether a slice makes proxies send new connections to a pod. A slice that cannot be read sends to
// nobody.
func sendsTo(e *watch.Entry, uid types.UID) bool {
	slice := &discoveryv1.EndpointSlice{}
	if codec.Decode(e.Value, e.Revision, slice) != nil {
		return false
	}
	for i := range slice.Endpoints {
		ep := &slice.Endpoints[i]
		if ep.TargetRef == nil || ep.TargetRef.UID != uid {
			continue
		}
		ready := ep.Conditions.Ready == nil || *ep.Conditions.Ready
		if terminating := ep.Conditions.Terminating; ready && (terminating == nil || !*terminating) {
			return true
		}
	}
	return false
}
