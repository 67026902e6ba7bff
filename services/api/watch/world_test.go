package watch

import (
	"context"
	"encoding/json"
	"errors"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
	"k8s.io/apimachinery/pkg/fields"
	"k8s.io/apimachinery/pkg/labels"

	"karve.dev/karve/services/api/store"
	"karve.dev/karve/services/api/store/etcdstore"
)

const podsPrefix = "/registry/core/pods/"

// pod is what the tests store: as JSON, "sealed" by a prefix.
type pod struct {
	Labels map[string]string `json:"labels,omitempty"`
	Node   string            `json:"node,omitempty"`
	Filler string            `json:"filler,omitempty"`
}

func (p pod) seal() []byte {
	data, _ := json.Marshal(p)
	return append([]byte("sealed:"), data...)
}

var pods = Resource{
	Prefix: podsPrefix, Namespaced: true, IndexedFields: []string{"spec.nodeName"},
	Open: func(_ string, stored []byte) ([]byte, error) {
		value, ok := strings.CutPrefix(string(stored), "sealed:")
		if !ok {
			return nil, errors.New("not sealed")
		}
		return []byte(value), nil
	},
	Attributes: func(value []byte) (Attributes, error) {
		var p pod
		err := json.Unmarshal(value, &p)
		return Attributes{Labels: p.Labels, Fields: map[string]string{"spec.nodeName": p.Node}}, err
	},
}

// world is a cache over a store, running.
type world struct {
	t     testing.TB
	ctx   context.Context
	store store.Store
	cache *Cache
	pods  *Collection
	stop  func()
}

func newWorld(t testing.TB, st store.Store, cfg Config) *world {
	t.Helper()
	cfg.Store = st
	w := &world{t: t, store: st, cache: New(cfg)}
	var cancel context.CancelFunc
	w.ctx, cancel = context.WithTimeout(context.Background(), 60*time.Second)
	var err error
	w.pods, err = w.cache.Add(w.ctx, pods)
	require.NoError(t, err)
	ended := make(chan error, 1)
	running, stop := context.WithCancel(w.ctx)
	go func() { ended <- w.cache.Run(running) }()
	stopped := false
	w.stop = func() {
		if !stopped {
			stopped = true
			stop()
			require.NoError(t, <-ended)
		}
	}
	t.Cleanup(func() { w.stop(); cancel() })
	<-w.cache.Ready()
	return w
}

func openEtcd(t testing.TB) store.Store {
	s, err := etcdstore.Open(context.Background(), etcdstore.Config{DataDir: t.TempDir()})
	require.NoError(t, err)
	t.Cleanup(func() { require.NoError(t, s.Close()) })
	return s
}

func key(namespace, name string) string { return podsPrefix + namespace + "/" + name }

func (w *world) put(namespace, name string, p pod) int64 {
	w.t.Helper()
	revision, err := w.store.Commit(w.ctx, store.Op{Key: key(namespace, name), Value: p.seal(), Expected: -1})
	require.NoError(w.t, err)
	return revision
}

func (w *world) delete(namespace, name string) int64 {
	w.t.Helper()
	revision, err := w.store.Commit(w.ctx, store.Op{Key: key(namespace, name), Expected: -1})
	require.NoError(w.t, err)
	return revision
}

func (w *world) sync() int64 {
	w.t.Helper()
	revision, err := w.cache.Sync(w.ctx)
	require.NoError(w.t, err)
	return revision
}

func names(entries []*Entry) string {
	var out []string
	for _, e := range entries {
		out = append(out, e.Namespace+"/"+e.Name)
	}
	return strings.Join(out, " ")
}

func byLabel(t testing.TB, s string) Predicate {
	selector, err := labels.Parse(s)
	require.NoError(t, err)
	return Predicate{Labels: selector}
}

func byField(t testing.TB, s string) Predicate {
	selector, err := fields.ParseSelector(s)
	require.NoError(t, err)
	return Predicate{Fields: selector}
}
