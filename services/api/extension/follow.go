package extension

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"
	"sync"

	apierrors "k8s.io/apimachinery/pkg/api/errors"
	"k8s.io/apimachinery/pkg/types"

	"karve.dev/karve/services/api/registry"
	"karve.dev/karve/services/api/server"
	"karve.dev/karve/services/api/watch"
)

func over(err error) bool { return errors.Is(err, watch.ErrClosed) }

// follower holds what is known of the definitions. One goroutine owns it.
type follower struct {
	x *Extensions
	// known are all definitions by name.
	known map[string]*known
	// made are the kinds of each definition, as they are served.
	made map[types.UID]*made
	// served are all of them, as the server was told last.
	served []*registry.Kind
	// draining are the definitions whose objects are being deleted.
	draining map[types.UID]context.CancelFunc
	wait     sync.WaitGroup
}

// made are the kinds of a definition as of one generation.
type made struct {
	tag   string
	kinds []*registry.Kind
}

func newFollower(x *Extensions) *follower {
	return &follower{x: x, known: map[string]*known{}, made: map[types.UID]*made{}, draining: map[types.UID]context.CancelFunc{}}
}

// stop ends what the follower has begun.
func (f *follower) stop() {
	for _, stop := range f.draining {
		stop()
	}
	f.wait.Wait()
}

// follow keeps the served kinds in step with the definitions until something fails.
func (f *follower) follow(ctx context.Context, definitions *watch.Collection) error {
	w, err := definitions.Watch(ctx, watch.WatchOptions{SendInitial: true, InitialEnd: true})
	if err != nil {
		return fmt.Errorf("watch: %w", err)
	}
	defer w.Stop()
	initial := map[string]*known{}
	for {
		events, err := w.Next(ctx)
		if err != nil {
			return fmt.Errorf("watch: %w", err)
		}
		into := f.known
		if initial != nil {
			into = initial
		}
		for _, ev := range events {
			if ev.Type == watch.Bookmark {
				if ev.InitialEnd && initial != nil {
					f.known, into, initial = initial, initial, nil
				}
				continue
			}
			if err := apply(into, ev); err != nil {
				return err
			}
		}
		if initial != nil {
			continue
		}
		if err := f.reconcile(ctx); err != nil {
			return err
		}
		closeOnce(f.x.synced)
	}
}

func closeOnce(ch chan struct{}) {
	select {
	case <-ch:
	default:
		close(ch)
	}
}

func apply(all map[string]*known, ev watch.Event) error {
	if ev.Type == watch.Deleted {
		delete(all, ev.Entry.Name)
		return nil
	}
	d, err := read(ev.Entry)
	if err != nil {
		return err
	}
	all[ev.Entry.Name] = d
	return nil
}

// reconcile makes the server serve what the definitions say, then tells so in their status.
func (f *follower) reconcile(ctx context.Context) error {
	all := f.sorted()
	verdicts := judge(all, f.x.config.BuiltIn)
	if err := f.serve(ctx, all, verdicts); err != nil {
		return err
	}
	if err := f.writeStatuses(ctx, all, verdicts); err != nil {
		return err
	}
	f.drainDying(ctx, all)
	return nil
}

// sorted are the definitions, the oldest first: who comes first keeps a name.
func (f *follower) sorted() []*known {
	all := make([]*known, 0, len(f.known))
	for _, d := range f.known {
		all = append(all, d)
	}
	slices.SortFunc(all, func(a, b *known) int {
		if c := a.CreationTimestamp.Compare(b.CreationTimestamp.Time); c != 0 {
			return c
		}
		return strings.Compare(a.Name, b.Name)
	})
	return all
}

// serve tells the server when the set of kinds is another than before.
func (f *follower) serve(ctx context.Context, all []*known, verdicts []verdict) error {
	var now []*registry.Kind
	current := map[types.UID]*made{}
	for i, d := range all {
		if !verdicts[i].established() {
			continue
		}
		tag := fmt.Sprint(d.Generation, d.DeletionTimestamp != nil, verdicts[i].status.AcceptedNames)
		m := f.made[d.UID]
		if m == nil || m.tag != tag {
			m = &made{tag: tag, kinds: f.x.kinds(d, verdicts[i].status.AcceptedNames)}
		}
		current[d.UID] = m
		now = append(now, m.kinds...)
	}
	order(now)
	if !slices.Equal(now, f.served) {
		if err := f.x.config.Resources.SetCustom(ctx, now); err != nil {
			return fmt.Errorf("serve custom kinds: %w", err)
		}
		f.served = now
		f.x.docs.set(now)
	}
	f.made = current
	return nil
}

// writeStatuses stores the verdicts that are news. A definition that has changed meanwhile is judged again when its
// event comes.
func (f *follower) writeStatuses(ctx context.Context, all []*known, verdicts []verdict) error {
	var changes []server.Change
	for i, d := range all {
		v := &verdicts[i]
		if !v.changed {
			continue
		}
		changes = append(changes, server.Change{Name: d.Name, Do: func(old registry.Object) (server.Outcome, error) {
			next := old.(*definition)
			if next.ResourceVersion == d.ResourceVersion {
				v.status.DeepCopyInto(&next.Status)
			}
			return server.Outcome{Next: next}, nil
		}})
	}
	for _, err := range f.x.config.Resources.Batch(ctx, gvkDefinition, changes) {
		if err != nil && !apierrors.IsNotFound(err) {
			return fmt.Errorf("store the status of a CustomResourceDefinition: %w", err)
		}
	}
	return nil
}
