// Package revision keeps the history of a workload's pod template in ControllerRevisions, which kubectl rollout reads.
package revision

import (
	"bytes"
	"cmp"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"hash/fnv"
	"maps"
	"slices"
	"strconv"

	appsv1 "k8s.io/api/apps/v1"
	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/api/equality"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/util/rand"

	"karve.dev/karve/internal/client"
	"karve.dev/karve/services/replication/ownership"
)

// Workload is what has a history.
type Workload struct {
	Owner    client.Object
	Template *corev1.PodTemplateSpec
	// HashLabel is the label of a ControllerRevision that holds its hash.
	HashLabel string
	// Collisions is the count in the workload's status.
	Collisions *int32
	// Limit is how many revisions are kept besides those in use; nil for all.
	Limit *int32
}

// Plan is what the history should become.
type Plan struct {
	// Current is the revision of the template as it is now; Write says that it has to be created (it has no UID yet) or
	// updated.
	Current *appsv1.ControllerRevision
	Write   bool
	// Remove are old revisions beyond the limit.
	Remove []*appsv1.ControllerRevision
}

// MakePlan finds the template among the existing revisions, or makes a new one; one that is found again after others
// gets the next number. used names the revisions that are in use.
func MakePlan(w Workload, existing []*appsv1.ControllerRevision, used map[string]bool) (Plan, error) {
	data, err := Data(w.Template)
	if err != nil {
		return Plan{}, err
	}
	sorted := Sort(existing)
	var p Plan
	next := int64(1)
	for _, r := range sorted {
		next = max(next, r.Revision+1)
		if sameData(r.Data.Raw, data) {
			p.Current = r // the newest of equal ones
		}
	}
	switch {
	case p.Current == nil:
		p.Write = true
		if p.Current, err = build(w, data, next); err != nil {
			return Plan{}, err
		}
	case p.Current.Revision != next-1:
		p.Write = true
		p.Current = p.Current.DeepCopy()
		p.Current.Revision = next
	}
	p.Remove = surplus(w, sorted, p.Current.Name, used)
	return p, nil
}

// OneMore counts a collision: what a workload's status holds after ErrCollision.
func OneMore(collisions *int32) *int32 {
	n := int32(1)
	if collisions != nil {
		n += *collisions
	}
	return &n
}

// Sort returns the revisions, oldest first.
func Sort(revisions []*appsv1.ControllerRevision) []*appsv1.ControllerRevision {
	out := slices.Clone(revisions)
	slices.SortFunc(out, func(a, b *appsv1.ControllerRevision) int {
		return cmp.Or(cmp.Compare(a.Revision, b.Revision), a.CreationTimestamp.Time.Compare(b.CreationTimestamp.Time), cmp.Compare(a.Name, b.Name))
	})
	return out
}

func surplus(w Workload, sorted []*appsv1.ControllerRevision, current string, used map[string]bool) []*appsv1.ControllerRevision {
	if w.Limit == nil {
		return nil
	}
	idle := slices.DeleteFunc(slices.Clone(sorted), func(r *appsv1.ControllerRevision) bool { return r.Name == current || used[r.Name] })
	if n := len(idle) - int(*w.Limit); n > 0 {
		return idle[:n]
	}
	return nil
}

// Data is a strategic merge patch that brings the template back.
func Data(template *corev1.PodTemplateSpec) ([]byte, error) {
	raw, err := json.Marshal(template)
	if err != nil {
		return nil, fmt.Errorf("encode a pod template: %w", err)
	}
	var fields map[string]any
	if err := json.Unmarshal(raw, &fields); err != nil {
		return nil, fmt.Errorf("encode a pod template: %w", err)
	}
	fields["$patch"] = "replace"
	data, err := json.Marshal(map[string]any{"spec": map[string]any{"template": fields}})
	if err != nil {
		return nil, fmt.Errorf("encode a pod template: %w", err)
	}
	return data, nil
}

// Template reads a revision's template back.
func Template(r *appsv1.ControllerRevision) (*corev1.PodTemplateSpec, error) {
	var data struct {
		Spec struct {
			Template corev1.PodTemplateSpec `json:"template"`
		} `json:"spec"`
	}
	if err := json.Unmarshal(r.Data.Raw, &data); err != nil {
		return nil, fmt.Errorf("read revision %s: %w", r.Name, err)
	}
	return &data.Spec.Template, nil
}

// sameData compares what is meant: stored JSON may have been written anew.
func sameData(a, b []byte) bool {
	if bytes.Equal(a, b) {
		return true
	}
	var x, y any
	return json.Unmarshal(a, &x) == nil && json.Unmarshal(b, &y) == nil && equality.Semantic.DeepEqual(x, y)
}

// maxNameLength leaves room for a hash.
const maxNameLength = 223

func build(w Workload, data []byte, number int64) (*appsv1.ControllerRevision, error) {
	ref, err := ownership.Reference(w.Owner)
	if err != nil {
		return nil, err
	}
	h := fnv.New32a()
	_, _ = h.Write(data)
	if w.Collisions != nil {
		_, _ = fmt.Fprintf(h, "#%d", *w.Collisions)
	}
	hash := rand.SafeEncodeString(strconv.FormatUint(uint64(h.Sum32()), 10))
	labels := maps.Clone(w.Template.Labels)
	if labels == nil {
		labels = map[string]string{}
	}
	labels[w.HashLabel] = hash
	name := w.Owner.GetName()
	return &appsv1.ControllerRevision{
		ObjectMeta: metav1.ObjectMeta{
			Namespace: w.Owner.GetNamespace(), Name: name[:min(len(name), maxNameLength)] + "-" + hash,
			Labels: labels, Annotations: maps.Clone(w.Owner.GetAnnotations()), OwnerReferences: []metav1.OwnerReference{ref},
		},
		Data: runtime.RawExtension{Raw: data}, Revision: number,
	}, nil
}

// ErrCollision says that the name of a new revision is another's: the workload's collision count must be raised.
var ErrCollision = errors.New("another revision has that name")

// Apply writes a plan and returns the current revision as it is stored; stored is told of it.
func Apply(ctx context.Context, c *client.Client, p Plan, stored func(*appsv1.ControllerRevision)) (*appsv1.ControllerRevision, error) {
	current := p.Current
	if p.Write {
		var err error
		if current, err = write(ctx, c, p.Current); err != nil {
			return nil, err
		}
		stored(current)
	}
	for _, r := range p.Remove {
		err := c.Delete(ctx, &appsv1.ControllerRevision{ObjectMeta: metav1.ObjectMeta{Namespace: r.Namespace, Name: r.Name}}, client.DeleteOptions{UID: r.UID})
		if err != nil && !apierrors.IsNotFound(err) && !apierrors.IsConflict(err) {
			return nil, fmt.Errorf("delete revision %s: %w", r.Name, err)
		}
	}
	return current, nil
}

func write(ctx context.Context, c *client.Client, r *appsv1.ControllerRevision) (*appsv1.ControllerRevision, error) {
	if r.UID != "" {
		if err := c.Update(ctx, r); err != nil {
			return nil, fmt.Errorf("update revision %s: %w", r.Name, err)
		}
		return r, nil
	}
	out := r.DeepCopy()
	err := c.Create(ctx, out)
	if apierrors.IsAlreadyExists(err) {
		return existing(ctx, c, r)
	}
	if err != nil {
		return nil, fmt.Errorf("create revision %s: %w", r.Name, err)
	}
	return out, nil
}

// existing is the revision that an earlier attempt made, unless it is another's.
func existing(ctx context.Context, c *client.Client, r *appsv1.ControllerRevision) (*appsv1.ControllerRevision, error) {
	found := &appsv1.ControllerRevision{}
	if err := c.Get(ctx, found, r.Namespace, r.Name); err != nil {
		return nil, fmt.Errorf("read revision %s: %w", r.Name, err)
	}
	want, have := metav1.GetControllerOfNoCopy(r), metav1.GetControllerOfNoCopy(found)
	if have == nil || have.UID != want.UID || !sameData(found.Data.Raw, r.Data.Raw) {
		return nil, ErrCollision
	}
	return found, nil
}
