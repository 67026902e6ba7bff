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
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
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

// keepMirrors makes the mirrors that are missing and removes those of pods that are not there. It says whether there was
// nothing to do.
func (p *Pods) keepMirrors(ctx context.Context) (settled bool) {
	node := p.cfg.Self()
	p.mu.Lock()
	var remove []*corev1.Pod
	have := map[types.UID]bool{}
	for _, m := range p.mirrors {
		if of := p.find(imageOf(m)); of == nil || m.DeletionTimestamp != nil {
			remove = append(remove, m)
		}
		have[imageOf(m)] = true
	}
	var missing []*entry
	settled = len(remove) == 0
	for _, e := range p.files {
		if e.pod == nil || have[e.pod.UID] {
			continue
		}
		settled = false
		if p.synced && node != nil && time.Now().After(e.retryAt) {
			e.retryAt = time.Now().Add(mirrorRetry)
			missing = append(missing, e)
		}
	}
	p.mu.Unlock()
	now := int64(0)
	for _, m := range remove {
		err := p.cfg.Client.Delete(ctx, m, client.DeleteOptions{GracePeriodSeconds: &now, UID: m.UID})
		p.complain("remove a mirror pod", m, err)
	}
	for _, e := range missing {
		m := mirror(e.pod, node)
		p.complain("make a mirror pod", m, p.cfg.Client.Create(ctx, m))
	}
	return settled
}

func (p *Pods) complain(doing string, m *corev1.Pod, err error) {
	if err != nil && !apierrors.IsNotFound(err) && !apierrors.IsAlreadyExists(err) {
		p.cfg.Log.Warn(doing, zap.String("pod", m.Namespace+"/"+m.Name), zap.Error(err))
	}
}

// mirror is the API's image of a pod.
func mirror(pod *corev1.Pod, node *corev1.Node) *corev1.Pod {
	out := pod.DeepCopy()
	out.ObjectMeta = metav1.ObjectMeta{
		Namespace: pod.Namespace, Name: pod.Name, Labels: pod.Labels, Annotations: out.Annotations,
		OwnerReferences: []metav1.OwnerReference{*metav1.NewControllerRef(node, corev1.SchemeGroupVersion.WithKind("Node"))},
	}
	out.OwnerReferences[0].BlockOwnerDeletion = nil
	out.Annotations[corev1.MirrorPodAnnotationKey] = string(pod.UID)
	return out
}

// imageOf is the UID of the pod that a mirror is the image of; empty for a pod that is no mirror.
func imageOf(pod *corev1.Pod) types.UID {
	return types.UID(pod.Annotations[corev1.MirrorPodAnnotationKey])
}

// find returns a static pod by its UID. mu must be held.
func (p *Pods) find(uid types.UID) *entry {
	for _, e := range p.files {
		if e.pod != nil && e.pod.UID == uid {
			return e
		}
	}
	return nil
}

// SetMirror takes a pod from the API; false when it is no mirror.
func (p *Pods) SetMirror(pod *corev1.Pod) bool {
	if imageOf(pod) == "" {
		return false
	}
	p.mu.Lock()
	defer p.mu.Unlock()
	_, known := p.mirrors[pod.UID]
	p.mirrors[pod.UID] = pod
	if e := p.find(imageOf(pod)); e != nil && e.status != nil && !known {
		p.cfg.Reporter.Report(types.NamespacedName{Namespace: pod.Namespace, Name: pod.Name}, pod.UID, e.status, false)
	}
	p.signal()
	return true
}

// RemoveMirror takes that a pod is no longer in the API; false when it was no mirror.
func (p *Pods) RemoveMirror(uid types.UID) bool {
	p.mu.Lock()
	defer p.mu.Unlock()
	m, known := p.mirrors[uid]
	if known {
		delete(p.mirrors, uid)
		if e := p.find(imageOf(m)); e != nil {
			e.retryAt = time.Now().Add(absence)
		}
		p.signal()
	}
	return known
}

// Synced takes that everything has been told that the API has.
func (p *Pods) Synced(known func(types.UID) bool) {
	p.mu.Lock()
	defer p.mu.Unlock()
	for uid := range p.mirrors {
		if !known(uid) {
			delete(p.mirrors, uid)
		}
	}
	p.synced = true
	p.signal()
}

// Owns tells whether a pod is a static one.
func (p *Pods) Owns(uid types.UID) bool {
	p.mu.Lock()
	defer p.mu.Unlock()
	return p.find(uid) != nil
}

// Resolve returns the UID of the pod that runs, of which uid may be the mirror.
func (p *Pods) Resolve(uid string) string {
	p.mu.Lock()
	defer p.mu.Unlock()
	if m := p.mirrors[types.UID(uid)]; m != nil {
		return string(imageOf(m))
	}
	return uid
}

// Report hands a pod's status over; that of a static pod is its mirror's.
func (p *Pods) Report(pod types.NamespacedName, uid types.UID, status *corev1.PodStatus, terminated bool) {
	p.mu.Lock()
	defer p.mu.Unlock()
	e := p.find(uid)
	if e == nil {
		p.cfg.Reporter.Report(pod, uid, status, terminated)
		return
	}
	e.status = status.DeepCopy()
	for _, m := range p.mirrors {
		if imageOf(m) == uid {
			p.cfg.Reporter.Report(pod, m.UID, status, false)
		}
	}
}
