package quota

import (
	"context"
	"errors"
	"fmt"
	"hash/maphash"
	"time"

	"karve.dev/karve/services/api/codec"
	"karve.dev/karve/services/api/registry"
	"karve.dev/karve/services/api/watch"
)

// follow watches a kind until ctx ends. The kind may come later, go, and come again.
func (k *keeper) follow(ctx context.Context, ev *evaluator) error {
	for ctx.Err() == nil {
		changed := k.ledger.objects.KindsChanged()
		kind, objects := k.ledger.objects.Resource(ev.resource)
		var err error
		if objects == nil {
			err = watch.ErrClosed
		} else {
			err = k.followObjects(ctx, ev, kind, objects)
		}
		switch {
		case errors.Is(err, watch.ErrSlow), errors.Is(err, watch.ErrExpired):
		case errors.Is(err, watch.ErrClosed):
			select {
			case <-changed:
			case <-ctx.Done():
			}
		case ctx.Err() == nil:
			return fmt.Errorf("watch %s: %w", ev.resource, err)
		}
	}
	return nil
}

func (k *keeper) followObjects(ctx context.Context, ev *evaluator, kind *registry.Kind, objects *watch.Collection) error {
	w, err := objects.Watch(ctx, watch.WatchOptions{Since: objects.List(watch.Query{Limit: 1}).Revision})
	if err != nil {
		return err
	}
	defer w.Stop()
	// What has happened before is in what is measured now.
	for _, key := range k.counting(ev.resource, "") {
		k.soon(key)
	}
	marks := marks{ev: ev, kind: kind, seed: maphash.MakeSeed(), known: map[string]uint64{}}
	for {
		events, err := w.Next(ctx)
		if err != nil {
			return err
		}
		for _, event := range events {
			quotas := k.counting(ev.resource, event.Entry.Namespace)
			if len(quotas) == 0 || !marks.changed(event) {
				continue
			}
			for _, key := range quotas {
				k.soon(key)
			}
		}
	}
}

// marks tell whether a change of an object changes what it uses: most are changes of its status. For each object it
// keeps a few bytes.
type marks struct {
	ev    *evaluator
	kind  *registry.Kind
	seed  maphash.Seed
	known map[string]uint64
}

// changed reports whether a quota must be measured for what happened to an object. A new object has been charged.
func (m *marks) changed(event watch.Event) bool {
	switch {
	case event.Type == watch.Deleted:
		delete(m.known, event.Entry.Key)
		return true
	case m.ev.usage == nil:
		return false
	}
	mark, err := m.of(event.Entry)
	was, known := m.known[event.Entry.Key]
	m.known[event.Entry.Key] = mark
	return err != nil || event.Type == watch.Modified && (!known || was != mark)
}

func (m *marks) of(e *watch.Entry) (uint64, error) {
	obj, err := codec.Load(m.kind, e.Value, e.Revision)
	if err != nil {
		return 0, err
	}
	text := shown(m.ev.usage(obj, time.Now()))
	if m.ev.trait != nil {
		text += "|" + m.ev.trait(obj)
	}
	return maphash.String(m.seed, text), nil
}
