package nftables

import (
	"context"
	"fmt"
	"maps"
	"slices"
	"strings"

	"github.com/google/nftables"
	"github.com/google/nftables/expr"
	"github.com/google/nftables/userdata"
)

// maxElements is how many elements go into one message: an attribute's length has 16 bits.
const maxElements = 400

// maxComment is how much of a comment the kernel and nft take.
const maxComment = 127

// difference is what one atomic batch changes.
type difference struct {
	remove map[element]string
	add    map[element]string
	write  []*chain // whose rules are (re)written
	drop   []string // chains that go
}

func newDifference() *difference {
	return &difference{remove: map[element]string{}, add: map[element]string{}}
}

func (d *difference) empty() bool {
	return len(d.remove) == 0 && len(d.add) == 0 && len(d.write) == 0 && len(d.drop) == 0
}

// writer queues messages of one batch.
type writer struct {
	conn   *nftables.Conn
	table  *nftables.Table
	layout layout
	sets   map[string]*nftables.Set
	lastID uint32
}

// nextID numbers the sets of a transaction. The library's own counter is one for the process and not safe for use
// from several goroutines.
func (w *writer) nextID() uint32 {
	w.lastID++
	return w.lastID
}

// send writes the difference as one transaction.
func (w *writer) send(d *difference, known map[string]bool) error {
	if err := w.queue(d, known); err != nil {
		return err
	}
	return w.conn.Flush()
}

// queue adds the difference to the transaction. The order within it is what the kernel's reference counts ask
// for: chains exist before something leads to them and go after nothing does.
func (w *writer) queue(d *difference, known map[string]bool) error {
	for _, c := range d.write {
		ref := &nftables.Chain{Name: c.name(), Table: w.table}
		if known[c.name()] {
			w.conn.FlushChain(ref)
		} else {
			w.conn.AddChain(ref)
			if _, one := c.body.(stuck); one {
				if err := w.conn.AddSet(w.clients(c.family, c.name()), nil); err != nil {
					return err
				}
			}
		}
	}
	if err := w.elements(d.remove, w.conn.SetDeleteElements); err != nil {
		return err
	}
	if err := w.elements(d.add, w.conn.SetAddElements); err != nil {
		return err
	}
	for _, c := range d.write {
		if err := c.body.write(w, c); err != nil {
			return err
		}
	}
	for _, name := range d.drop {
		w.conn.FlushChain(&nftables.Chain{Name: name, Table: w.table})
	}
	for _, name := range d.drop {
		w.conn.DelChain(&nftables.Chain{Name: name, Table: w.table})
		if strings.HasPrefix(name, endpointPrefix) {
			w.conn.DelSet(&nftables.Set{Name: clientsPrefix + name, Table: w.table})
		}
	}
	return nil
}

// rules appends rules to a chain; the last gets the comment, unless that is empty.
func (w *writer) rules(chain string, rules [][]expr.Any, comment string) {
	for i, exprs := range rules {
		r := &nftables.Rule{Table: w.table, Chain: &nftables.Chain{Name: chain, Table: w.table}, Exprs: exprs}
		if i == len(rules)-1 && comment != "" {
			r.UserData = userdata.AppendString(nil, userdata.TypeComment, comment[:min(len(comment), maxComment)])
		}
		w.conn.AddRule(r)
	}
}

func (w *writer) elements(elements map[element]string, op func(*nftables.Set, []nftables.SetElement) error) error {
	bySet := map[string][]nftables.SetElement{}
	for e, value := range elements {
		bySet[e.set] = append(bySet[e.set], setElement(e, value, verdictSets[e.set[:len(e.set)-1]]))
	}
	for name, list := range bySet {
		for part := range slices.Chunk(list, maxElements) {
			if err := op(w.sets[name], part); err != nil {
				return err
			}
		}
	}
	return nil
}

// writeBase makes the table where there is none in this format, and the base chains. Chains and elements of
// Services stay as they are.
func (w *writer) writeBase(k *kernel) error {
	if err := w.queueBase(k); err != nil {
		return err
	}
	return w.conn.Flush()
}

func (w *writer) queueBase(k *kernel) error {
	if k.exists && !k.usable {
		w.conn.DelTable(w.table)
	}
	if !k.usable {
		w.conn.AddTable(w.table)
		w.conn.AddChain(&nftables.Chain{Name: w.layout.format(), Table: w.table})
		for _, name := range slices.Sorted(maps.Keys(w.sets)) {
			if err := w.conn.AddSet(w.sets[name], nil); err != nil {
				return err
			}
		}
	}
	if k.usable && k.layout != "" {
		w.conn.DelChain(&nftables.Chain{Name: k.layout, Table: w.table})
	}
	w.conn.AddChain(&nftables.Chain{Name: w.layout.mark(), Table: w.table})
	accept := nftables.ChainPolicyAccept
	base := w.layout.chains()
	for _, b := range base {
		c := &nftables.Chain{Name: b.name, Table: w.table}
		if b.hook != nil {
			c.Type, c.Hooknum, c.Priority, c.Policy = b.kind, b.hook, &b.priority, &accept
		}
		w.conn.AddChain(c)
		w.conn.FlushChain(c)
	}
	for _, b := range base {
		w.rules(b.name, b.rules, "")
	}
	return nil
}

// newWriter opens a batch.
func newWriter(ctx context.Context, table *nftables.Table, l layout) (*writer, error) {
	conn, err := dial(ctx)
	if err != nil {
		return nil, err
	}
	w := &writer{conn: conn, table: table, layout: l, sets: map[string]*nftables.Set{}}
	for _, f := range families {
		for _, s := range f.sets(table) {
			s.ID = w.nextID()
			w.sets[s.Name] = s
		}
	}
	return w, nil
}

// deleteTables removes the tables with a prefix that match, and tells how many it left.
func deleteTables(ctx context.Context, prefix string, match func(name string) bool) (left int, err error) {
	conn, err := dial(ctx)
	if err != nil {
		return 0, err
	}
	tables, err := conn.ListTablesOfFamily(nftables.TableFamilyINet)
	if err != nil {
		return 0, fmt.Errorf("list tables: %w", err)
	}
	for _, t := range tables {
		if !strings.HasPrefix(t.Name, prefix) {
			continue
		}
		if match(t.Name) {
			conn.DelTable(t)
		} else {
			left++
		}
	}
	if err := conn.Flush(); err != nil {
		return left, fmt.Errorf("delete tables of %s: %w", prefix, err)
	}
	return left, nil
}

func (d *difference) dropOnce(name string) {
	if !slices.Contains(d.drop, name) {
		d.drop = append(d.drop, name)
	}
}
