package watch

import (
	"sync/atomic"

	"github.com/prometheus/client_golang/prometheus"
)

// What the cache tells about itself; the figures are read when they are asked for.
var (
	labelResource = []string{"resource"}
	descRevision  = prometheus.NewDesc("karve_watch_cache_revision", "The store's revision that the cache has reached.", nil, nil)
	descMemo      = prometheus.NewDesc("karve_watch_cache_encoded_bytes", "Bytes of encodings that are kept.", nil, nil)
	descCut       = prometheus.NewDesc("karve_watch_cache_slow_watchers_total", "Watchers that were cut because they did not keep up.", nil, nil)
	descEntries   = prometheus.NewDesc("karve_watch_cache_entries", "Objects in the cache.", labelResource, nil)
	descWatchers  = prometheus.NewDesc("karve_watch_cache_watchers", "Open watches.", labelResource, nil)
	descHistory   = prometheus.NewDesc("karve_watch_cache_history_events", "Changes that can still be watched from.", labelResource, nil)
	descChanges   = prometheus.NewDesc("karve_watch_cache_events_total", "Changes taken in since the start.", labelResource, nil)
)

// collector implements prometheus.Collector over a cache.
type collector struct {
	cache *Cache
	cut   atomic.Int64
}

// Describe implements prometheus.Collector.
func (m *collector) Describe(ch chan<- *prometheus.Desc) {
	for _, d := range []*prometheus.Desc{descRevision, descMemo, descCut, descEntries, descWatchers, descHistory, descChanges} {
		ch <- d
	}
}

// Collect implements prometheus.Collector.
func (m *collector) Collect(ch chan<- prometheus.Metric) {
	ch <- prometheus.MustNewConstMetric(descRevision, prometheus.GaugeValue, float64(m.cache.Revision()))
	ch <- prometheus.MustNewConstMetric(descMemo, prometheus.GaugeValue, float64(m.cache.memos.size()))
	ch <- prometheus.MustNewConstMetric(descCut, prometheus.CounterValue, float64(m.cut.Load()))
	m.cache.each(func(c *Collection) {
		entries, watchers, history, changes := c.sizes()
		name := c.name()
		ch <- prometheus.MustNewConstMetric(descEntries, prometheus.GaugeValue, float64(entries), name)
		ch <- prometheus.MustNewConstMetric(descWatchers, prometheus.GaugeValue, float64(watchers), name)
		ch <- prometheus.MustNewConstMetric(descHistory, prometheus.GaugeValue, float64(history), name)
		ch <- prometheus.MustNewConstMetric(descChanges, prometheus.CounterValue, float64(changes), name)
	})
}

// name returns the resource as "group/plural".
func (c *Collection) name() string {
	prefix := c.resource.Prefix
	return prefix[len(c.cache.cfg.Prefix) : len(prefix)-1]
}

func (c *Collection) sizes() (entries, watchers, history int, changes uint64) {
	c.mu.RLock()
	defer c.mu.RUnlock()
	for _, n := range c.shelves.kinds {
		watchers += n
	}
	return c.tree.Len(), watchers, c.history.len(), c.history.next
}

func (p *memoPool) size() int {
	p.mu.Lock()
	defer p.mu.Unlock()
	return p.used
}
