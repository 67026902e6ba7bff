// Package static runs the pods that a folder of manifests describes. They need no API; where there is one, it shows a
// mirror of each.
package static

import (
	"context"
	"os"
	"sync"
	"time"

	"github.com/fsnotify/fsnotify"
	"go.uber.org/zap"
	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/types"

	"karve.dev/karve/internal/client"
)

const (
	// lookEvery is how often the folder is read without a notice of change: some file systems give none.
	lookEvery = 20 * time.Second
	// unsettled is how soon mirrors are looked at again when not all are as they should be.
	unsettled = time.Second
	// absence is how long a mirror that was deleted stays away: kubectl waits for that, and would not notice it otherwise.
	absence = time.Second
	// mirrorRetry is how long the API is left alone after it has refused a mirror.
	mirrorRetry = 10 * time.Second
)

// Runner runs pods.
type Runner interface {
	SetPod(pod *corev1.Pod)
	RemovePod(uid types.UID)
}

// Reporter takes statuses of pods that are in the API.
type Reporter interface {
	Report(pod types.NamespacedName, uid types.UID, status *corev1.PodStatus, terminated bool)
}

// Config is what static pods need.
type Config struct {
	// Dir is the folder; it need not exist. Without one there are no static pods.
	Dir      string
	Node     string
	Client   *client.Client
	Reporter Reporter
	// Self returns the Node as the API has it, or nil.
	Self func() *corev1.Node
	Log  *zap.Logger
}

// Pods are a node's static pods.
type Pods struct {
	cfg  Config
	wake chan struct{}

	mu      sync.Mutex
	files   map[string]*entry         // by the manifest's name
	mirrors map[types.UID]*corev1.Pod // what the API has
	synced  bool                      // all that the API has is known
}

type entry struct {
	pod     *corev1.Pod
	status  *corev1.PodStatus
	retryAt time.Time
	broken  string // what was last wrong with the file
}

// New returns no pods yet.
func New(cfg Config) *Pods {
	return &Pods{cfg: cfg, wake: make(chan struct{}, 1), files: map[string]*entry{}, mirrors: map[types.UID]*corev1.Pod{}}
}

// Read reads the folder and has its pods run. A file that cannot be read changes nothing about what runs.
func (p *Pods) Read(run Runner) {
	found, broken := map[string]*corev1.Pod{}, map[string]string{}
	list, err := files(p.cfg.Dir)
	if err != nil {
		p.cfg.Log.Error("read the folder of static pods", zap.Error(err))
		return
	}
	for _, file := range list {
		pod, err := read(p.cfg.Dir, file, p.cfg.Node)
		if found[file] = pod; err != nil {
			broken[file] = err.Error()
		}
	}
	begin, end := p.take(found, broken)
	for _, uid := range end {
		run.RemovePod(uid)
	}
	for _, pod := range begin {
		run.SetPod(pod)
	}
}

// take takes what the folder holds, and returns what is to begin and to end. Workers report with their locks held:
// they must not be called with mu held.
func (p *Pods) take(found map[string]*corev1.Pod, broken map[string]string) (begin []*corev1.Pod, end []types.UID) {
	p.mu.Lock()
	defer p.mu.Unlock()
	for file, pod := range found {
		e := p.files[file]
		if e == nil {
			e = &entry{}
			p.files[file] = e
		}
		if why := broken[file]; why != "" && why != e.broken {
			p.cfg.Log.Error("static pod", zap.String("why", why))
		}
		e.broken = broken[file]
		if pod == nil || e.pod != nil && e.pod.UID == pod.UID {
			continue
		}
		if e.pod != nil {
			end = append(end, e.pod.UID)
		}
		e.pod, e.status, e.retryAt = pod, nil, time.Time{}
		begin = append(begin, pod)
	}
	for file, e := range p.files {
		if _, there := found[file]; !there {
			delete(p.files, file)
			if e.pod != nil {
				end = append(end, e.pod.UID)
			}
		}
	}
	return begin, end
}

// Run follows the folder and keeps the mirrors until ctx ends.
func (p *Pods) Run(ctx context.Context, run Runner) error {
	if p.cfg.Dir == "" {
		return nil
	}
	changed, stop := p.notices()
	defer stop()
	timer := time.NewTimer(lookEvery)
	defer timer.Stop()
	for {
		p.Read(run)
		timer.Reset(lookEvery)
		if !p.keepMirrors(ctx) {
			timer.Reset(unsettled)
		}
		select {
		case <-timer.C:
		case <-changed:
		case <-p.wake:
		case <-ctx.Done():
			return nil
		}
	}
}

// notices tells of changes in the folder, which is made if need be. A file that is still being written is read again when
// the writer goes on.
func (p *Pods) notices() (changed <-chan fsnotify.Event, stop func()) {
	watcher, err := fsnotify.NewWatcher()
	if err == nil {
		if err = os.MkdirAll(p.cfg.Dir, 0o700); err == nil {
			err = watcher.Add(p.cfg.Dir)
		}
		if err == nil {
			return watcher.Events, func() { _ = watcher.Close() }
		}
		_ = watcher.Close()
	}
	p.cfg.Log.Warn("the folder of static pods cannot be watched and is read now and then", zap.String("folder", p.cfg.Dir), zap.Error(err))
	return nil, func() {}
}

func (p *Pods) signal() {
	select {
	case p.wake <- struct{}{}:
	default:
	}
}
