package static

import (
	"context"
	"time"

	"go.uber.org/zap"
	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"

	"karve.dev/karve/internal/client"
)

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
