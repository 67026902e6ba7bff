package deployment

import (
	"encoding/json"
	"fmt"
	"hash/fnv"
	"maps"
	"slices"
	"strconv"
	"strings"

	appsv1 "k8s.io/api/apps/v1"
	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/api/equality"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/util/rand"
)

// Annotations that kubectl rollout and other clients read.
const (
	revisionAnnotation = "deployment.kubernetes.io/revision"
	historyAnnotation  = "deployment.kubernetes.io/revision-history"
	desiredAnnotation  = "deployment.kubernetes.io/desired-replicas"
	maxAnnotation      = "deployment.kubernetes.io/max-replicas"
	// maxHistory bounds historyAnnotation, in bytes.
	maxHistory = 2000
)

// notCopied are the Deployment's annotations that say nothing about a ReplicaSet.
var notCopied = []string{corev1.LastAppliedConfigAnnotation, revisionAnnotation, historyAnnotation, desiredAnnotation, maxAnnotation, appsv1.DeprecatedRollbackTo}

func sameTemplate(a, b *corev1.PodTemplateSpec) bool {
	return sameLabels(a.Labels, b.Labels) && equality.Semantic.DeepEqual(a.Annotations, b.Annotations) &&
		equality.Semantic.DeepEqual(a.Finalizers, b.Finalizers) && equality.Semantic.DeepEqual(a.Spec, b.Spec)
}

// sameLabels leaves out the hash that a ReplicaSet adds.
func sameLabels(a, b map[string]string) bool {
	count := func(m map[string]string) int {
		if _, ok := m[hashLabel]; ok {
			return len(m) - 1
		}
		return len(m)
	}
	if count(a) != count(b) {
		return false
	}
	for k, v := range a {
		if other, ok := b[k]; k != hashLabel && (!ok || other != v) {
			return false
		}
	}
	return true
}

// templateHash names a template: stable, short, and free of vowels, so that it spells nothing.
func templateHash(template *corev1.PodTemplateSpec, collisions *int32) string {
	h := fnv.New32a()
	_ = json.NewEncoder(h).Encode(template) // plain data into a hash: neither can fail
	if collisions != nil {
		_, _ = fmt.Fprintf(h, "#%d", *collisions)
	}
	return rand.SafeEncodeString(strconv.FormatUint(uint64(h.Sum32()), 10))
}

// newSet returns the ReplicaSet of the Deployment's template, empty.
func newSet(d *appsv1.Deployment) *appsv1.ReplicaSet {
	hash := templateHash(&d.Spec.Template, d.Status.CollisionCount)
	rs := &appsv1.ReplicaSet{
		ObjectMeta: metav1.ObjectMeta{
			Namespace: d.Namespace, Name: d.Name + "-" + hash,
			OwnerReferences: []metav1.OwnerReference{*metav1.NewControllerRef(d, appsv1.SchemeGroupVersion.WithKind("Deployment"))},
		},
		Spec: appsv1.ReplicaSetSpec{
			Replicas: ptrTo[int32](0), MinReadySeconds: d.Spec.MinReadySeconds,
			Selector: d.Spec.Selector.DeepCopy(), Template: *d.Spec.Template.DeepCopy(),
		},
	}
	if rs.Spec.Selector == nil {
		rs.Spec.Selector = &metav1.LabelSelector{}
	}
	setKey(&rs.Spec.Selector.MatchLabels, hashLabel, hash)
	setKey(&rs.Spec.Template.Labels, hashLabel, hash)
	rs.Labels = maps.Clone(rs.Spec.Template.Labels)
	return rs
}

func setKey(m *map[string]string, key, value string) {
	if *m == nil {
		*m = map[string]string{}
	}
	(*m)[key] = value
}

// syncRevision numbers the current set one above all others, keeps its annotations and minReadySeconds like the
// Deployment's, and shows its revision at the Deployment.
func (r *rollout) syncRevision() {
	if r.current == nil {
		return
	}
	r.annotate(r.current)
	if r.current.get().Spec.MinReadySeconds != r.deployment.Spec.MinReadySeconds {
		r.current.edit().Spec.MinReadySeconds = r.deployment.Spec.MinReadySeconds
	}
	r.showRevision()
	if r.hasDeadline() && conditionOf(&r.deployment.Status, appsv1.DeploymentProgressing) == nil {
		r.setCondition(appsv1.DeploymentProgressing, corev1.ConditionTrue, reasonFoundSet, fmt.Sprintf("Found new replica set %q", r.current.get().Name))
	}
}

func (r *rollout) showRevision() {
	if revision, ok := r.current.get().Annotations[revisionAnnotation]; ok && r.deployment.Annotations[revisionAnnotation] != revision {
		setKey(&r.deployment.Annotations, revisionAnnotation, revision)
	}
}

// createCurrent plans the ReplicaSet of the current template.
func (r *rollout) createCurrent() {
	rs := newSet(r.deployment)
	r.current = &set{changed: rs, isNew: true}
	r.annotate(r.current)
	r.showRevision()
	if r.hasDeadline() {
		r.setCondition(appsv1.DeploymentProgressing, corev1.ConditionTrue, reasonNewSet, fmt.Sprintf("Created new replica set %q", rs.Name))
	}
}

func (r *rollout) annotate(s *set) {
	for k, v := range r.deployment.Annotations {
		if s.get().Annotations[k] != v && !slices.Contains(notCopied, k) {
			setKey(&s.edit().Annotations, k, v)
		}
	}
	var newest int64
	for _, old := range r.old {
		newest = max(newest, revisionOf(old.get()))
	}
	was, known := s.get().Annotations[revisionAnnotation]
	if revisionOf(s.get()) > newest {
		return
	}
	annotations := &s.edit().Annotations
	setKey(annotations, revisionAnnotation, strconv.FormatInt(newest+1, 10))
	if known {
		setKey(annotations, historyAnnotation, appendHistory((*annotations)[historyAnnotation], was))
	}
}

// revisionOf returns 0 for a set without a revision, or with one that is no number.
func revisionOf(rs *appsv1.ReplicaSet) int64 {
	n, err := strconv.ParseInt(rs.Annotations[revisionAnnotation], 10, 64)
	if err != nil {
		return 0
	}
	return n
}

// appendHistory adds a revision that a set had before it was rolled back to, and forgets the oldest when the list
// grows too long.
func appendHistory(history, revision string) string {
	if history == "" {
		return revision
	}
	history += "," + revision
	for len(history) > maxHistory {
		_, history, _ = strings.Cut(history, ",")
	}
	return history
}

// trimHistory removes the oldest empty sets beyond the limit.
func (r *rollout) trimHistory() {
	limit := r.deployment.Spec.RevisionHistoryLimit
	if limit == nil {
		return
	}
	var kept []*appsv1.ReplicaSet
	for _, s := range r.old {
		if s.get().DeletionTimestamp == nil {
			kept = append(kept, s.get())
		}
	}
	surplus := len(kept) - int(*limit)
	if surplus <= 0 {
		return
	}
	slices.SortStableFunc(kept, func(a, b *appsv1.ReplicaSet) int { return int(revisionOf(a) - revisionOf(b)) })
	for _, rs := range kept[:surplus] {
		if sizeOf(rs) == 0 && rs.Status.Replicas == 0 && rs.Generation <= rs.Status.ObservedGeneration {
			r.remove = append(r.remove, rs)
		}
	}
}
