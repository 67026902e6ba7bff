package ttl

import (
	"testing"
	"time"

	"github.com/stretchr/testify/require"
	batchv1 "k8s.io/api/batch/v1"
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
)

func TestOnlyFinishedJobsWithALifeTimeExpire(t *testing.T) {
	ended := time.Date(2026, 1, 1, 12, 0, 0, 0, time.UTC)
	for name, c := range map[string]struct {
		change func(*batchv1.Job)
		ok     bool
	}{
		"complete":         {func(*batchv1.Job) {}, true},
		"failed":           {func(j *batchv1.Job) { j.Status.Conditions[0].Type = batchv1.JobFailed }, true},
		"running":          {func(j *batchv1.Job) { j.Status.Conditions = nil }, false},
		"about to be over": {func(j *batchv1.Job) { j.Status.Conditions[0].Type = batchv1.JobSuccessCriteriaMet }, false},
		"not any more":     {func(j *batchv1.Job) { j.Status.Conditions[0].Status = corev1.ConditionFalse }, false},
		"kept":             {func(j *batchv1.Job) { j.Spec.TTLSecondsAfterFinished = nil }, false},
		"on its way out":   {func(j *batchv1.Job) { j.DeletionTimestamp = &metav1.Time{Time: ended} }, false},
	} {
		t.Run(name, func(t *testing.T) {
			seconds := int32(30)
			j := &batchv1.Job{Spec: batchv1.JobSpec{TTLSecondsAfterFinished: &seconds}, Status: batchv1.JobStatus{Conditions: []batchv1.JobCondition{
				{Type: batchv1.JobComplete, Status: corev1.ConditionTrue, LastTransitionTime: metav1.NewTime(ended)},
			}}}
			c.change(j)
			at, ok := expiry(j)
			require.Equal(t, c.ok, ok)
			if ok {
				require.Equal(t, ended.Add(30*time.Second), at.UTC())
			}
		})
	}
}
