package worker

import (
	"hash/maphash"
	"time"

	"go.uber.org/zap"
	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/types"

	"karve.dev/karve/agents/node/podstate"
)

// holdBack is how long the report waits that a pod is on its way: by then it mostly runs, and one report says it all.
const holdBack = 400 * time.Millisecond

// digestSeed is for telling whether a status is the one that was reported last.
var digestSeed = maphash.MakeSeed()

// report hands the status over when it has changed. Of a pod that is gone nobody wants to know. mu must be held.
func (w *worker) report(status *corev1.PodStatus, now time.Time, terminated bool) {
	if w.obs.Gone {
		return
	}
	data, err := status.Marshal()
	if err != nil {
		w.log().Error("encode status", zap.Error(err))
		return
	}
	if !terminated && digest(data) == w.reported {
		w.held = time.Time{}
		return
	}
	if !terminated && podstate.OnItsWay(status) && w.pod.DeletionTimestamp == nil {
		if w.held.IsZero() {
			w.held = now
		}
		if now.Before(w.held.Add(holdBack)) {
			return
		}
	}
	w.held = time.Time{}
	w.reported = digest(data)
	if status.Phase != corev1.PodPending {
		if !w.born.IsZero() && status.Phase == corev1.PodRunning {
			w.pool.cfg.Started(now.Sub(w.born))
		}
		w.born = time.Time{}
	}
	w.pool.cfg.Reporter.Report(types.NamespacedName{Namespace: w.namespace, Name: w.name}, w.uid, status, terminated)
}

// reportAt is when a status that was held back is due. mu must be held.
func (w *worker) reportAt() time.Time {
	if w.held.IsZero() {
		return time.Time{}
	}
	return w.held.Add(holdBack)
}

// drifted says whether what is stored of a pod contradicts what the node has reported of it. The same report again
// costs nothing where it has only not arrived yet.
func drifted(stored, reported *corev1.PodStatus) bool {
	for _, mine := range reported.Conditions {
		for _, theirs := range stored.Conditions {
			if mine.Type == theirs.Type && mine.Status != theirs.Status {
				return true
			}
		}
	}
	return false
}
