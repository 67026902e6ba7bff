package job

import (
	"fmt"
	"math/rand/v2"
	"slices"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
	batchv1 "k8s.io/api/batch/v1"
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
)

// world carries plans out as the controller does, but for the crashes: each write may be the last one of its plan.
type world struct {
	*rand.Rand
	job    *batchv1.Job
	pods   []*corev1.Pod
	memory *failures
	now    time.Time
	made   int
	// succeeded and failed is what really happened.
	succeeded, failed int
}

// write runs fn unless the controller has crashed.
func (w *world) write(crashed *bool, fn func()) {
	if *crashed = *crashed || w.IntN(12) == 0; !*crashed {
		fn()
	}
}

func (w *world) drop(p *corev1.Pod) {
	w.pods = slices.DeleteFunc(w.pods, func(q *corev1.Pod) bool { return q.UID == p.UID })
}

func (w *world) free(p *corev1.Pod) {
	gone(p)
	if p.DeletionTimestamp != nil {
		w.drop(p)
	}
}

func (w *world) remove(p *corev1.Pod) {
	if !tracked(p) {
		w.drop(p)
		return
	}
	p.DeletionTimestamp = &metav1.Time{Time: w.now}
}

func (w *world) reconcile() {
	p := makePlan(observed{job: w.job, pods: w.pods, failures: w.memory, now: w.now})
	crashed := false
	for _, pod := range p.discard {
		w.write(&crashed, func() { w.free(pod) })
		w.write(&crashed, func() { w.remove(pod) })
	}
	for _, pod := range p.stop {
		w.write(&crashed, func() { w.remove(pod) })
	}
	for _, b := range p.create {
		w.write(&crashed, func() {
			w.made++
			made := pod(fmt.Sprint("p", w.made), corev1.PodRunning, 0)
			made.CreationTimestamp = metav1.NewTime(w.now)
			if b.index != noIndex {
				index(b.index)(made)
			}
			w.pods = append(w.pods, made)
			p.status.Active++
		})
	}
	w.write(&crashed, func() { w.job.Status = p.status; w.memory = &p.failures })
	for _, pod := range p.release {
		w.write(&crashed, func() { w.free(pod) })
	}
	if crashed {
		w.memory = nil
	}
}

// live lets pods end and others clean up.
func (w *world) live() {
	w.now = w.now.Add(time.Duration(w.IntN(30)) * time.Second)
	for _, p := range slices.Clone(w.pods) {
		over := p.Status.Phase != corev1.PodRunning
		switch n := w.IntN(10); {
		case !over && p.DeletionTimestamp == nil && n < 3:
			p.Status.Phase = corev1.PodSucceeded
			w.succeeded++
		case !over && p.DeletionTimestamp == nil && n < 4:
			p.Status.Phase = corev1.PodFailed
			w.failed++
		case over && n < 3:
			w.remove(p)
		}
	}
}

func TestNoPodIsLostOrCountedTwiceWhereverTheControllerCrashes(t *testing.T) {
	for seed := range uint64(150) {
		for _, shape := range []func(*batchv1.JobSpec){nil, withIndexes} {
			j := build(20, 6, shape)
			j.Spec.BackoffLimit = ptr(int32(1000))
			w := &world{Rand: rand.New(rand.NewPCG(seed, 0)), job: j, now: now}
			for step := 0; Finished(w.job) == nil; step++ {
				require.Less(t, step, 20000, "seed %d", seed)
				w.reconcile()
				w.live()
			}
			require.EqualValues(t, 20, w.succeeded, "seed %d: no more work is done than was asked for", seed)
			require.EqualValues(t, 20, w.job.Status.Succeeded, "seed %d", seed)
			require.EqualValues(t, w.failed, w.job.Status.Failed, "seed %d", seed)
			require.Empty(t, w.job.Status.UncountedTerminatedPods.Succeeded)
			require.Empty(t, w.job.Status.UncountedTerminatedPods.Failed)
			require.Zero(t, w.job.Status.Active)
			if indexed(j) {
				require.Equal(t, "0-19", w.job.Status.CompletedIndexes)
			}
		}
	}
}
