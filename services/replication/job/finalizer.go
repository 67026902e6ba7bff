package job

import (
	"context"
	"encoding/json"
	"fmt"

	"golang.org/x/sync/errgroup"
	batchv1 "k8s.io/api/batch/v1"
	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"

	"karve.dev/karve/internal/informer"
)

// maxParallel bounds the calls of one reconcile under way.
const maxParallel = 32

// trackedIndex finds pods with the finalizer by the key of their job; those without a controller by a key without a name.
const trackedIndex = "job-tracked"

func trackedBy(p *corev1.Pod) []string {
	if !tracked(p) {
		return nil
	}
	if key, _, ok := owner(p); ok {
		return []string{trackedValue(key)}
	}
	if metav1.GetControllerOfNoCopy(p) == nil {
		return []string{trackedValue(informer.Key{Namespace: p.Namespace})}
	}
	return nil
}

func trackedValue(key informer.Key) string { return key.Namespace + "/" + key.Name }

// release takes the finalizer off pods: whoever wants to delete them may.
func (r *Controller) release(ctx context.Context, key informer.Key, list []*corev1.Pod) error {
	var g errgroup.Group
	g.SetLimit(maxParallel)
	for _, p := range list {
		g.Go(func() error { return r.releasePod(ctx, key, p) })
	}
	return g.Wait()
}

func (r *Controller) releasePod(ctx context.Context, key informer.Key, p *corev1.Pod) error {
	if !tracked(p) {
		return nil
	}
	body, err := json.Marshal(map[string]any{"metadata": map[string]any{
		"uid": p.UID, "$deleteFromPrimitiveList/finalizers": []string{batchv1.JobTrackingFinalizer},
	}})
	if err != nil {
		return fmt.Errorf("release pod %s: %w", p.Name, err)
	}
	out := &corev1.Pod{ObjectMeta: metav1.ObjectMeta{Namespace: p.Namespace, Name: p.Name}}
	err = r.client.Patch(ctx, out, types.StrategicMergePatchType, body, "")
	switch {
	case apierrors.IsNotFound(err):
		return nil
	case err != nil:
		return fmt.Errorf("release pod %s: %w", p.Name, err)
	}
	r.written.Stored(key, out)
	return nil
}

// releaseStrays takes the finalizer off pods whose job is gone or over: nobody will count them.
func (r *Controller) releaseStrays(ctx context.Context, key informer.Key, job *batchv1.Job) error {
	var strays []*corev1.Pod
	asked := false
	for _, p := range r.pods.ByIndex(trackedIndex, trackedValue(key)) {
		_, uid, owned := owner(p)
		switch {
		case !owned && r.wanted(p), owned && job != nil && job.UID == uid && Finished(job) == nil:
			continue
		case owned && (job == nil || job.UID != uid) && !asked:
			// The informer of jobs may be behind that of pods.
			if there, err := r.exists(ctx, key, uid); there || err != nil {
				return err
			}
			asked = true
		}
		strays = append(strays, p)
	}
	return r.release(ctx, key, strays)
}

// wanted says that a job is about to adopt the pod.
func (r *Controller) wanted(p *corev1.Pod) bool {
	for _, job := range r.jobs.List(p.Namespace, nil) {
		if mayHave(job, p) {
			return true
		}
	}
	return false
}

func (r *Controller) exists(ctx context.Context, key informer.Key, uid types.UID) (bool, error) {
	job := &batchv1.Job{}
	err := r.client.Get(ctx, job, key.Namespace, key.Name)
	if apierrors.IsNotFound(err) {
		return false, nil
	}
	if err != nil {
		return false, fmt.Errorf("look for job %s: %w", key, err)
	}
	return job.UID == uid, nil
}
