package nftables

import (
	"context"
	"encoding/hex"
	"errors"
	"fmt"
	"maps"

	"karve.dev/karve/agents/proxy/dataplane"
)

// batchSize is about how many messages go into one transaction. What belongs to one server is never split.
const batchSize = 1000

// write installs changes in as few transactions as fit. A transaction that the kernel refuses is halved until the
// server that it refuses stands alone.
func (d *Dataplane) write(ctx context.Context, changes []change) error {
	var errs []error
	for len(changes) > 0 {
		n := 0
		touched := map[element]bool{}
		for size := 0; n < len(changes) && size < batchSize; n++ {
			before := len(touched)
			d.swap(changes[n], touched)
			size += 6 + (len(touched)-before)/20
		}
		if err := d.commit(ctx, touched); err != nil {
			errs = append(errs, d.isolate(ctx, changes[:n], err))
		}
		changes = changes[n:]
	}
	return errors.Join(errs...)
}

// isolate takes a refused transaction apart.
func (d *Dataplane) isolate(ctx context.Context, changes []change, cause error) error {
	for i := len(changes) - 1; i >= 0; i-- {
		d.swapBack(changes[i])
	}
	if ctx.Err() != nil || len(changes) == 0 {
		return cause
	}
	if len(changes) == 1 {
		return serverError(changes[0], cause)
	}
	var errs []error
	for _, half := range [][]change{changes[:len(changes)/2], changes[len(changes)/2:]} {
		touched := map[element]bool{}
		for _, c := range half {
			d.swap(c, touched)
		}
		if err := d.commit(ctx, touched); err != nil {
			errs = append(errs, d.isolate(ctx, half, err))
		}
	}
	return errors.Join(errs...)
}

func serverError(c change, cause error) error {
	v := c.after
	if v == nil {
		v = c.before()
	}
	return &dataplane.ServerError{Server: v.Name, Service: v.Service, Err: fmt.Errorf("nftables: %w", cause)}
}

// swap replaces a server's program in what is wanted and adds the elements that may differ to touched.
func (d *Dataplane) swap(c change, touched map[element]bool) {
	var next *program
	if c.after != nil {
		next = render(d.layout, c.after)
	}
	d.replace(c.old, next, touched)
	if next == nil {
		delete(d.programs, c.name)
		return
	}
	d.programs[c.name] = &installed{server: *c.after, program: next}
}

// swapBack undoes swap.
func (d *Dataplane) swapBack(c change) {
	var back *program
	if c.old != nil {
		back = c.old.program
	}
	d.replace(d.programs[c.name], back, map[element]bool{})
	if c.old == nil {
		delete(d.programs, c.name)
		return
	}
	d.programs[c.name] = c.old
}

func (d *Dataplane) replace(old *installed, next *program, touched map[element]bool) {
	if next != nil {
		for e, value := range next.elements {
			d.uses[e]++
			d.wanted[e] = value
			touched[e] = true
		}
		for _, c := range next.chains {
			d.chains[c.name()] = c
			d.names[c.shape()] = c.name()
		}
	}
	if old == nil {
		return
	}
	for e := range old.program.elements {
		touched[e] = true
		if d.uses[e]--; d.uses[e] == 0 {
			delete(d.uses, e)
			delete(d.wanted, e)
			delete(d.names, e)
		}
	}
}

// commit writes the touched elements that differ from the kernel's, and the chains that hang on them.
func (d *Dataplane) commit(ctx context.Context, touched map[element]bool) error {
	diff := newDifference()
	for e := range touched {
		d.compare(e, diff)
	}
	return d.send(ctx, diff)
}

func (d *Dataplane) compare(e element, diff *difference) {
	want, wanted := d.wanted[e]
	have, exists := d.kernel.elements[e]
	same := wanted == exists && want == have
	if !same && exists {
		diff.remove[e] = have
	}
	if !same && wanted {
		diff.add[e] = want
	}
	if e.set[:len(e.set)-1] != setShapes {
		return
	}
	if wanted {
		name := d.names[e]
		if !same || !d.kernel.chains[name] {
			diff.write = append(diff.write, d.chains[name])
		}
		return
	}
	for _, prefix := range []string{chainPrefix, endpointPrefix} {
		name := prefix + e.set[len(e.set)-1:] + "-" + hex.EncodeToString([]byte(e.key))
		if d.kernel.chains[name] {
			diff.drop = append(diff.drop, name)
			delete(d.chains, name)
		}
	}
}

func (d *Dataplane) send(ctx context.Context, diff *difference) error {
	if diff.empty() {
		return nil
	}
	w, err := newWriter(ctx, d.table, d.layout)
	if err != nil {
		return err
	}
	if err := w.send(diff, d.kernel.chains); err != nil {
		return err
	}
	for e := range diff.remove {
		delete(d.kernel.elements, e)
	}
	maps.Copy(d.kernel.elements, diff.add)
	for _, c := range diff.write {
		d.kernel.chains[c.name()] = true
	}
	for _, name := range diff.drop {
		delete(d.kernel.chains, name)
	}
	return nil
}

// sweep removes what an earlier process left and nobody wants any more.
func (d *Dataplane) sweep(ctx context.Context) error {
	diff := newDifference()
	for e := range d.kernel.elements {
		if _, wanted := d.wanted[e]; !wanted {
			d.compare(e, diff)
		}
	}
	for name := range d.kernel.chains {
		if d.chains[name] == nil {
			diff.dropOnce(name)
		}
	}
	if err := d.send(ctx, diff); err != nil {
		return fmt.Errorf("remove what an earlier process left: %w", err)
	}
	return nil
}
