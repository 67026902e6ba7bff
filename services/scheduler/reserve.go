package scheduler

import (
	"context"
	"fmt"
	"strconv"
	"time"

	"go.uber.org/zap"
	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/types"

	"karve.dev/karve/internal/informer"
	"karve.dev/karve/internal/volume"
	"karve.dev/karve/services/scheduler/framework"
	"karve.dev/karve/services/scheduler/plugin"
	"karve.dev/karve/services/scheduler/queue"
)

const (
	// reservationLife is how long a pod keeps its place while its volumes are being made; as in Kubernetes.
	reservationLife = 10 * time.Minute
	// reservationCheck is how often reservations are looked at although nothing has changed.
	reservationCheck = 10 * time.Second
)

// reservation is a pod that has its place but not its volumes. It is bound when it has both.
type reservation struct {
	item  *queue.Item
	node  string
	plans []plugin.ClaimPlan
	until time.Time
	// written is set once the claims and volumes say what was decided; revisions is what the claims then were at.
	written   bool
	revisions map[string]int64
}

// reserve keeps a pod's place and says, on its claims and on the volumes they get, what was decided. Who binds and
// makes volumes does the rest.
func (s *Scheduler) reserve(ctx context.Context, item *queue.Item, node string, plans []plugin.ClaimPlan) {
	r := &reservation{item: item, node: node, plans: plans, until: time.Now().Add(reservationLife), revisions: map[string]int64{}}
	s.reserved[item.Pod.Object.UID] = r
	for _, p := range plans {
		if p.Volume != nil {
			s.storage.promised[p.Volume.Name] = informer.KeyOf(p.Claim)
		}
	}
	s.writes.Go(func() error {
		for _, p := range plans {
			if err := s.announce(ctx, r, p); err != nil {
				if ctx.Err() == nil {
					s.cfg.Logger.Info("reserving volumes failed, will retry", zap.String("pod", item.Key.String()), zap.Error(err))
					s.inbox.bindFailed(item)
				}
				return nil
			}
		}
		s.inbox.reservationWritten(r)
		return nil
	})
}

// announce writes one claim's part of the decision. It may have been written by an earlier attempt.
func (s *Scheduler) announce(ctx context.Context, r *reservation, p plugin.ClaimPlan) error {
	ctx, cancel := context.WithTimeout(ctx, writeTimeout)
	defer cancel()
	if p.Volume != nil {
		if volume.IsFor(p.Volume, p.Claim) {
			return nil
		}
		v := p.Volume.DeepCopy()
		if v.Annotations == nil {
			v.Annotations = map[string]string{}
		}
		v.Annotations[volume.BoundByController] = "yes"
		v.Spec.ClaimRef = &corev1.ObjectReference{
			APIVersion: "v1", Kind: "PersistentVolumeClaim", Namespace: p.Claim.Namespace, Name: p.Claim.Name, UID: p.Claim.UID, ResourceVersion: p.Claim.ResourceVersion,
		}
		if err := s.cfg.Client.Update(ctx, v); err != nil {
			return fmt.Errorf("reserve volume %s: %w", v.Name, err)
		}
		return nil
	}
	c := p.Claim
	if c.Annotations[volume.SelectedNode] != r.node {
		c = c.DeepCopy()
		if c.Annotations == nil {
			c.Annotations = map[string]string{}
		}
		c.Annotations[volume.SelectedNode] = r.node
		if err := s.cfg.Client.Update(ctx, c); err != nil {
			return fmt.Errorf("select node %s for claim %s/%s: %w", r.node, c.Namespace, c.Name, err)
		}
	}
	revision, err := strconv.ParseInt(c.ResourceVersion, 10, 64)
	if err != nil {
		return fmt.Errorf("revision of claim %s/%s: %w", c.Namespace, c.Name, err)
	}
	r.revisions[c.Name] = revision
	return nil
}

// progress says how a reservation is getting on.
type progress int

const (
	waiting progress = iota
	complete
	failed
)

// progress looks at what has become of a reservation's claims.
func (s *Scheduler) progress(r *reservation, now time.Time) progress {
	if !r.written {
		return waiting
	}
	out := complete
	for _, p := range r.plans {
		c := s.storage.Claim(p.Claim.Namespace, p.Claim.Name)
		switch {
		case c == nil || c.UID != p.Claim.UID || now.After(r.until):
			return failed
		case volume.IsBound(c) && c.Status.Phase == corev1.ClaimBound:
		case p.Volume == nil && c.Annotations[volume.SelectedNode] != r.node && s.storage.claims.Revision() >= r.revisions[c.Name]:
			return failed // nobody can make the volume there
		default:
			out = waiting
		}
	}
	return out
}

// lookAtReserved binds the pods that have got their volumes, and takes back the places of those that will not.
func (s *Scheduler) lookAtReserved(ctx context.Context, now time.Time) {
	for uid, r := range s.reserved {
		switch s.progress(r, now) {
		case complete:
			s.release(uid)
			s.writeBinding(ctx, r.item, r.node)
		case failed:
			if changes := s.takeBack(r.item, now); changes != 0 {
				s.queue.Wake(changes|framework.StorageChanged, now)
			}
		}
	}
}

// release forgets a reservation.
func (s *Scheduler) release(uid types.UID) {
	r := s.reserved[uid]
	if r == nil {
		return
	}
	delete(s.reserved, uid)
	for _, p := range r.plans {
		if p.Volume != nil && s.storage.promised[p.Volume.Name] == informer.KeyOf(p.Claim) {
			delete(s.storage.promised, p.Volume.Name)
		}
	}
}
