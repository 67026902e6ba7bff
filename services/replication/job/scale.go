package job

import (
	"time"

	batchv1 "k8s.io/api/batch/v1"
	corev1 "k8s.io/api/core/v1"

	"karve.dev/karve/services/replication/pods"
)

// successes is how many pods have succeeded, counted or not; of an indexed job, how many indexes.
func (s *state) successes() int {
	if indexed(s.job) {
		return s.done.len()
	}
	return int(s.status.Succeeded) + len(s.status.UncountedTerminatedPods.Succeeded) + len(s.succeeded)
}

// scale chooses pods to discard or, when there are none, to create.
func (s *state) scale() {
	want := s.wanted()
	if s.discard = s.surplus(max(len(s.active)-want, 0)); len(s.discard) > 0 {
		s.discard = s.discard[:min(len(s.discard), pods.MaxPerReconcile)]
		return
	}
	missing := want - len(s.active)
	if onlyFailed(s.job) {
		missing -= len(s.terminating)
	}
	if missing <= 0 {
		return
	}
	missing = min(missing, pods.MaxPerReconcile)
	if perIndex(s.job) {
		s.replace(missing)
		return
	}
	if wait := s.plan.failures.wait(s.now); wait > 0 {
		s.wakeAfter(wait)
		return
	}
	if indexed(s.job) {
		for _, n := range s.pending(missing) {
			s.create = append(s.create, birth{index: n})
		}
		return
	}
	for range missing {
		s.create = append(s.create, birth{index: noIndex})
	}
}

// wanted is how many pods should be active. A job without a number of completions makes none after the first success.
func (s *state) wanted() int {
	parallel := number(s.job.Spec.Parallelism, 1)
	switch {
	case suspended(s.job):
		return 0
	case s.job.Spec.Completions != nil:
		return max(min(completions(s.job)-s.successes(), parallel), 0)
	case s.successes() > 0:
		return len(s.active)
	}
	return parallel
}

// surplus chooses at least n active pods that are not wanted: those of an index that is not the job's or that another
// pod has go first.
func (s *state) surplus(n int) []*corev1.Pod {
	var out, left []*corev1.Pod
	if indexed(s.job) {
		byIndex := map[int][]*corev1.Pod{}
		for _, p := range s.active {
			at := indexOf(p, completions(s.job))
			byIndex[at] = append(byIndex[at], p)
		}
		for at, same := range byIndex {
			keep := 1
			if at == noIndex {
				keep = 0
			}
			gone := pods.Surplus(same, nil, len(same)-keep, s.now)
			out = append(out, gone...)
			left = append(left, except(same, gone)...)
		}
	} else {
		left = s.active
	}
	if len(out) < n {
		out = append(out, pods.Surplus(left, nil, n-len(out), s.now)...)
	}
	return out
}

func except(all, gone []*corev1.Pod) (out []*corev1.Pod) {
	drop := map[*corev1.Pod]bool{}
	for _, p := range gone {
		drop[p] = true
	}
	for _, p := range all {
		if !drop[p] {
			out = append(out, p)
		}
	}
	return out
}

// pending returns the first n indexes that neither have ended nor have a pod.
func (s *state) pending(n int) []int {
	taken := s.active
	if onlyFailed(s.job) {
		taken = append(taken[:len(taken):len(taken)], s.terminating...)
	}
	busy := normal(append(append([]span(nil), s.done...), s.broken...))
	return busy.with(indexesOf(taken, completions(s.job))...).without(n, completions(s.job))
}

func indexesOf(list []*corev1.Pod, limit int) (out []int) {
	for _, p := range list {
		if n := indexOf(p, limit); n != noIndex {
			out = append(out, n)
		}
	}
	return out
}

// replace creates pods for those indexes whose own delay after a failure is over.
func (s *state) replace(n int) {
	var soonest time.Duration
	for _, at := range s.pending(n) {
		last := s.delayed[at]
		wait := time.Duration(0)
		if last != nil {
			wait = failures{count: failuresOf(last) + ignoredOf(last) + 1, last: finishedAt(last)}.wait(s.now)
		}
		if wait == 0 {
			s.create = append(s.create, birth{at, last})
		} else if soonest == 0 || wait < soonest {
			soonest = wait
		}
	}
	s.wakeAfter(soonest)
}

// tallyIndexes says which indexes are done, which have failed for good, and which failed pods wait for a successor.
func (s *state) tallyIndexes() {
	if !indexed(s.job) {
		return
	}
	limit := completions(s.job)
	s.counted = parseIndexes(s.status.CompletedIndexes, limit)
	s.done = s.counted.with(indexesOf(s.succeeded, limit)...)
	s.status.CompletedIndexes, s.status.Succeeded = s.done.String(), int32(s.done.len())
	if !perIndex(s.job) {
		return
	}
	if s.status.FailedIndexes != nil {
		s.broken = parseIndexes(*s.status.FailedIndexes, limit)
	}
	var lost []int
	for _, p := range s.pods {
		if n := indexOf(p, limit); n != noIndex && s.tracked[p.UID] && s.losesIndex(p) {
			lost = append(lost, n)
		}
	}
	s.broken = s.broken.with(lost...)
	text := s.broken.String()
	s.status.FailedIndexes = &text
	s.delayed = s.waiting(limit)
}

// losesIndex says that no pod follows this failed one.
func (s *state) losesIndex(p *corev1.Pod) bool {
	if !failed(s.job, p) {
		return false
	}
	j := judge(s.job, p)
	return j.action == batchv1.PodFailurePolicyActionFailIndex || j.counts() && failuresOf(p) >= int(*s.job.Spec.BackoffLimitPerIndex)
}

// waiting returns, of each index that goes on without an active pod, the pod that failed last.
func (s *state) waiting(limit int) map[int]*corev1.Pod {
	busy := indexes(nil).with(indexesOf(s.active, limit)...)
	out := map[int]*corev1.Pod{}
	for _, p := range s.failed {
		n := indexOf(p, limit)
		if n == noIndex || busy.has(n) || s.done.has(n) || s.broken.has(n) {
			continue
		}
		if old := out[n]; old == nil || failuresOf(old)+ignoredOf(old) <= failuresOf(p)+ignoredOf(p) && !finishedAt(p).Before(finishedAt(old)) {
			out[n] = p
		}
	}
	return out
}
