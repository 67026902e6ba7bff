package reconcile

import (
	"sync"
	"time"

	"github.com/prometheus/client_golang/prometheus"

	"karve.dev/karve/internal/informer"
)

// controllers are those that run in this process: what they do is shown together, by name.
var controllers = struct {
	mu      sync.Mutex
	running map[*Controller]struct{}
}{running: map[*Controller]struct{}{}}

// figures are what a controller has done so far.
type figures struct {
	mu            sync.Mutex
	added         map[informer.Key]time.Time // since when keys wait
	adds, retries uint64
	waited, took  durations
}

// bounds are the upper ends of the histograms' buckets, in seconds.
var bounds = []float64{1e-6, 1e-5, 1e-4, 1e-3, 1e-2, 1e-1, 1, 10}

// durations is a histogram.
type durations struct {
	count   uint64
	sum     float64
	buckets [8]uint64 // not cumulative
}

func (d *durations) observe(took time.Duration) {
	seconds := took.Seconds()
	d.count++
	d.sum += seconds
	for i, bound := range bounds {
		if seconds <= bound {
			d.buckets[i]++
			return
		}
	}
}

func (d *durations) add(o *durations) {
	d.count, d.sum = d.count+o.count, d.sum+o.sum
	for i := range d.buckets {
		d.buckets[i] += o.buckets[i]
	}
}

// add notes that a key waits; one that waits already is not added again.
func (f *figures) add(key informer.Key) {
	f.mu.Lock()
	defer f.mu.Unlock()
	if _, waits := f.added[key]; !waits {
		f.added[key] = time.Now()
		f.adds++
	}
}

// begin notes that a key is being worked on; those that came by themselves, after a time, were added just now.
func (f *figures) begin(key informer.Key) {
	f.mu.Lock()
	defer f.mu.Unlock()
	since, waited := f.added[key]
	if !waited {
		f.adds++
		since = time.Now()
	}
	delete(f.added, key)
	f.waited.observe(time.Since(since))
}

func (f *figures) end(took time.Duration, retry bool) {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.took.observe(took)
	if retry {
		f.retries++
	}
}

// Collector shows the queues of all controllers that run in this process, under the names that Kubernetes' controllers
// have for them.
type Collector struct{}

var (
	nameLabel   = []string{"name"}
	depthDesc   = prometheus.NewDesc("workqueue_depth", "Current depth of workqueue", nameLabel, nil)
	addsDesc    = prometheus.NewDesc("workqueue_adds_total", "Total number of adds handled by workqueue", nameLabel, nil)
	retriesDesc = prometheus.NewDesc("workqueue_retries_total", "Total number of retries handled by workqueue", nameLabel, nil)
	waitedDesc  = prometheus.NewDesc("workqueue_queue_duration_seconds", "How long in seconds an item stays in workqueue before being requested.", nameLabel, nil)
	tookDesc    = prometheus.NewDesc("workqueue_work_duration_seconds", "How long in seconds processing an item from workqueue takes.", nameLabel, nil)
)

// Describe implements prometheus.Collector.
func (Collector) Describe(to chan<- *prometheus.Desc) {
	for _, d := range []*prometheus.Desc{depthDesc, addsDesc, retriesDesc, waitedDesc, tookDesc} {
		to <- d
	}
}

// Collect implements prometheus.Collector.
func (Collector) Collect(to chan<- prometheus.Metric) {
	type sum struct {
		figures
		depth int
	}
	byName := map[string]*sum{}
	controllers.mu.Lock()
	for c := range controllers.running {
		s := byName[c.name]
		if s == nil {
			s = &sum{}
			byName[c.name] = s
		}
		s.depth += c.queue.Len()
		c.figures.mu.Lock()
		s.adds, s.retries = s.adds+c.figures.adds, s.retries+c.figures.retries
		s.waited.add(&c.figures.waited)
		s.took.add(&c.figures.took)
		c.figures.mu.Unlock()
	}
	controllers.mu.Unlock()
	for name, s := range byName {
		to <- prometheus.MustNewConstMetric(depthDesc, prometheus.GaugeValue, float64(s.depth), name)
		to <- prometheus.MustNewConstMetric(addsDesc, prometheus.CounterValue, float64(s.adds), name)
		to <- prometheus.MustNewConstMetric(retriesDesc, prometheus.CounterValue, float64(s.retries), name)
		to <- s.waited.metric(waitedDesc, name)
		to <- s.took.metric(tookDesc, name)
	}
}

func (d *durations) metric(desc *prometheus.Desc, name string) prometheus.Metric {
	cumulative := make(map[float64]uint64, len(bounds))
	var n uint64
	for i, bound := range bounds {
		n += d.buckets[i]
		cumulative[bound] = n
	}
	return prometheus.MustNewConstHistogram(desc, d.count, d.sum, cumulative, name)
}

// show makes the controller's queue one of those that Collector shows, until what it returns is called.
func (c *Controller) show() (hide func()) {
	controllers.mu.Lock()
	defer controllers.mu.Unlock()
	controllers.running[c] = struct{}{}
	return func() {
		controllers.mu.Lock()
		defer controllers.mu.Unlock()
		delete(controllers.running, c)
	}
}
