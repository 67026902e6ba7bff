package ttl

import (
	"time"

	batchv1 "k8s.io/api/batch/v1"

	"karve.dev/karve/services/replication/job"
)

// expiry returns when a job is to be deleted; ok is false while there is no such time.
func expiry(j *batchv1.Job) (at time.Time, ok bool) {
	if j.Spec.TTLSecondsAfterFinished == nil || j.DeletionTimestamp != nil {
		return time.Time{}, false
	}
	over := job.Finished(j)
	if over == nil || over.LastTransitionTime.IsZero() {
		return time.Time{}, false
	}
	return over.LastTransitionTime.Add(time.Duration(*j.Spec.TTLSecondsAfterFinished) * time.Second), true
}
