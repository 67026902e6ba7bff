package node

import (
	"slices"

	"google.golang.org/grpc"
	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/runtime/schema"

	nodev1 "karve.dev/karve/gen/go/karve/node/v1"
	"karve.dev/karve/services/api/codec"
	"karve.dev/karve/services/api/watch"
)

// outlet is the sending side of one node's stream. It is used by one goroutine.
type outlet struct {
	service *Service
	feed    *feed
	stream  grpc.BidiStreamingServer[nodev1.StreamRequest, nodev1.StreamResponse]
	// sent holds the revision that the node has of each object; users what each pod uses.
	sent  map[ref]int64
	users map[ref][]ref
	// revision is where the node has been brought to.
	revision int64
	out      []*nodev1.Change
	// draining are terminating pods that the node has not been told may stop; drained those that it is to be told of.
	draining map[ref]*drain
	drained  []string
}

// expand turns kinds that must be looked at as a whole into the names that are there or were sent.
func (o *outlet) expand(dirty map[ref]struct{}, resync map[schema.GroupVersionKind]bool) {
	for gvk := range resync {
		if slices.Contains(o.kinds(), gvk) {
			for _, e := range o.list(gvk).Entries {
				dirty[ref{gvk, e.Namespace, e.Name}] = struct{}{}
			}
		}
	}
	if len(resync) == 0 {
		return
	}
	for r := range o.sent {
		if resync[r.gvk] {
			dirty[r] = struct{}{}
		}
	}
	o.feed.mu.Lock()
	defer o.feed.mu.Unlock()
	for r := range o.feed.used {
		if resync[r.gvk] {
			dirty[r] = struct{}{}
		}
	}
}

// look brings the node up to date about the objects named. What pods use goes before the pods.
func (o *outlet) look(dirty map[ref]struct{}) error {
	var pods []ref
	for _, r := range sorted(dirty) {
		if r.gvk == kindPod {
			pods = append(pods, r)
			continue
		}
		if err := o.one(r); err != nil {
			return err
		}
	}
	for _, r := range pods {
		if err := o.pod(r); err != nil {
			return err
		}
	}
	return nil
}

func sorted(dirty map[ref]struct{}) []ref {
	out := make([]ref, 0, len(dirty))
	for r := range dirty {
		out = append(out, r)
	}
	slices.SortFunc(out, ref.compare)
	return out
}

func (o *outlet) entry(r ref) *watch.Entry {
	k := o.service.hub.kinds[r.gvk]
	if k == nil {
		return nil
	}
	e, ok := k.collection.Get(r.namespace, r.name)
	if !ok {
		return nil
	}
	return e
}

// foreign tells whether an object is none of the node's business.
func (o *outlet) foreign(r ref) bool {
	switch {
	case r.gvk == kindNode || r.gvk == kindSlice:
		return false
	case r.gvk == kindService:
		return o.feed.scope == nodev1.Scope_SCOPE_PODS && !o.linked(r)
	}
	return !o.feed.uses(r)
}

// one sends an object, or that it is gone. A claim brings its volume along.
func (o *outlet) one(r ref) error {
	if r.isAllServices() {
		return o.services(r.namespace)
	}
	if r.gvk == kindVolume {
		return o.volume(r)
	}
	if o.foreign(r) {
		return nil
	}
	e := o.entry(r)
	if r.gvk == kindClaim {
		if err := o.claim(r, e); err != nil {
			return err
		}
	}
	if e == nil {
		o.gone(r)
		return nil
	}
	return o.set(r, e)
}

func (o *outlet) claim(r ref, e *watch.Entry) error {
	var now []ref
	if e != nil {
		claim := &corev1.PersistentVolumeClaim{}
		if err := codec.Decode(e.Value, e.Revision, claim); err != nil {
			return err
		}
		if claim.Spec.VolumeName != "" {
			now = []ref{{kindVolume, "", claim.Spec.VolumeName}}
		}
	}
	return o.using(r, now)
}

// pod sends a pod with what it uses, or that it is gone from the node.
func (o *outlet) pod(r ref) error {
	e := o.entry(r)
	if e == nil || e.Fields().Get(fieldNodeName) != o.feed.node {
		if err := o.using(r, nil); err != nil {
			return err
		}
		delete(o.draining, r)
		o.gone(r)
		return nil
	}
	if o.sent[r] >= e.Revision {
		return nil
	}
	pod := &corev1.Pod{}
	if err := codec.Decode(e.Value, e.Revision, pod); err != nil {
		return err
	}
	if err := o.using(r, append(dependents(pod), links(pod)...)); err != nil {
		return err
	}
	o.beginDrain(r, pod)
	return o.set(r, e)
}

// using takes in what user uses from now on: new objects are sent, those that nobody uses any more are taken away.
func (o *outlet) using(user ref, now []ref) error {
	before := o.users[user]
	if slices.Equal(now, before) {
		return nil
	}
	if now == nil {
		delete(o.users, user)
	} else {
		o.users[user] = now
	}
	fresh, gone := o.feed.use(now, before)
	for _, r := range fresh {
		if err := o.one(r); err != nil {
			return err
		}
	}
	for _, r := range gone {
		if r.gvk == kindClaim {
			if err := o.using(r, nil); err != nil {
				return err
			}
		}
		if r.isAllServices() {
			if err := o.services(r.namespace); err != nil {
				return err
			}
		}
		if r.gvk == kindVolume {
			if err := o.volume(r); err != nil {
				return err
			}
			continue
		}
		if r.gvk != kindService || !o.linked(r) {
			o.gone(r)
		}
	}
	return nil
}

func (o *outlet) set(r ref, e *watch.Entry) error {
	if o.sent[r] >= e.Revision {
		return nil
	}
	data, err := codec.Wire(e)
	if err != nil {
		return err
	}
	o.sent[r] = e.Revision
	return o.add(&nodev1.Change{
		Op: nodev1.Change_OP_SET, ApiVersion: r.gvk.GroupVersion().String(), Kind: r.gvk.Kind,
		Namespace: r.namespace, Name: r.name, Object: data, Revision: e.Revision,
	})
}

func (o *outlet) gone(r ref) {
	if _, known := o.sent[r]; !known {
		return
	}
	delete(o.sent, r)
	o.out = append(o.out, &nodev1.Change{
		Op: nodev1.Change_OP_REMOVE, ApiVersion: r.gvk.GroupVersion().String(), Kind: r.gvk.Kind, Namespace: r.namespace, Name: r.name,
	})
}

// add queues a change; a full message goes out at the revision where the node already is.
func (o *outlet) add(c *nodev1.Change) error {
	o.out = append(o.out, c)
	if len(o.out) < messageChanges {
		return nil
	}
	return o.send(&nodev1.StreamResponse{Revision: o.revision})
}

// flush sends what is queued and brings the node to the revision. With nothing to say it says nothing.
func (o *outlet) flush(revision int64, complete bool) error {
	o.checkDrains()
	if len(o.out) == 0 && len(o.drained) == 0 && !complete {
		return nil
	}
	o.revision = max(o.revision, revision)
	return o.send(&nodev1.StreamResponse{Revision: o.revision, SnapshotComplete: complete})
}

func (o *outlet) send(msg *nodev1.StreamResponse) error {
	msg.Changes, o.out = o.out, nil
	msg.Drained, o.drained = o.drained, nil
	return o.stream.Send(msg)
}
