package plugin

import (
	"cmp"
	"fmt"
	"slices"

	corev1 "k8s.io/api/core/v1"
	storagev1 "k8s.io/api/storage/v1"

	"karve.dev/karve/internal/volume"
	"karve.dev/karve/services/scheduler/framework"
	"karve.dev/karve/services/scheduler/snapshot"
)

var (
	reasonSingleUse = &framework.Reason{
		Message:        "node(s) unavailable due to PersistentVolumeClaim with ReadWriteOncePod access mode already in-use by another pod",
		Counterfactual: "fits once the pod that uses the claim is gone",
	}
	reasonUnbound = &framework.Reason{
		Message: "pod has unbound immediate PersistentVolumeClaims", Counterfactual: "fits once its claims are bound: kubectl describe pvc says what they wait for",
	}
	reasonVolumeAffinity = &framework.Reason{Message: "node(s) didn't match PersistentVolume's node affinity", Counterfactual: "fits where its volume is"}
	reasonVolumeGone     = &framework.Reason{Message: "node(s) unavailable due to one or more pvc(s) bound to non-existent pv(s)"}
	reasonNoVolume       = &framework.Reason{Message: "node(s) didn't find available persistent volumes to bind", Counterfactual: "fits with a free volume for its claims there"}
)

// filterSingleUse keeps a claim that one pod only may use from a second one.
func filterSingleUse(s *snapshot.Snapshot, pod *snapshot.Pod) framework.NodeFilter {
	if s.Storage == nil {
		return nil
	}
	namespace := pod.Object.Namespace
	for _, name := range pod.Claims {
		c := s.Storage.Claim(namespace, name)
		if c != nil && slices.Contains(c.Spec.AccessModes, corev1.ReadWriteOncePod) && s.Claimed(namespace, name) {
			return func(*snapshot.Node) *framework.Reason { return reasonSingleUse }
		}
	}
	return nil
}

// refuseClaims finds claims with which the pod cannot run anywhere.
func refuseClaims(s *snapshot.Snapshot, pod *snapshot.Pod) *framework.Reason {
	if s.Storage == nil || len(pod.Claims) == 0 {
		return nil
	}
	unbound := false
	for i := range pod.Object.Spec.Volumes {
		v := &pod.Object.Spec.Volumes[i]
		name := volume.ClaimName(pod.Object, v)
		if name == "" {
			continue
		}
		c := s.Storage.Claim(pod.Object.Namespace, name)
		if why := unusable(pod.Object, v, name, c); why != nil {
			return why
		}
		unbound = unbound || !volume.IsBound(c) && !waits(s, c)
	}
	if unbound {
		return reasonUnbound
	}
	return nil
}

func unusable(pod *corev1.Pod, v *corev1.Volume, name string, c *corev1.PersistentVolumeClaim) *framework.Reason {
	switch {
	case c == nil && v.Ephemeral != nil:
		return &framework.Reason{Message: fmt.Sprintf("waiting for ephemeral volume controller to create the persistentvolumeclaim %q", name)}
	case c == nil:
		return &framework.Reason{Message: fmt.Sprintf("persistentvolumeclaim %q not found", name), Counterfactual: "fits once the claim exists"}
	case v.Ephemeral != nil && !volume.OwnedBy(c, pod):
		return &framework.Reason{Message: fmt.Sprintf("PVC %q was not created for pod %q (pod is not owner)", c.Namespace+"/"+c.Name, pod.Namespace+"/"+pod.Name)}
	case c.Status.Phase == corev1.ClaimLost:
		return &framework.Reason{Message: fmt.Sprintf("persistentvolumeclaim %q bound to non-existent persistentvolume %q", name, c.Spec.VolumeName)}
	case c.DeletionTimestamp != nil:
		return &framework.Reason{Message: fmt.Sprintf("persistentvolumeclaim %q is being deleted", name), Counterfactual: "fits once there is a new claim of that name"}
	}
	return nil
}

// waits says whether a claim is to be bound where its first pod goes.
func waits(s *snapshot.Snapshot, c *corev1.PersistentVolumeClaim) bool {
	name, _ := volume.ClassOfClaim(c)
	return c.Spec.VolumeName == "" && volume.Waits(s.Storage.Class(name))
}

// filterVolumes wants the pod where its volumes are, or where there can be some.
func filterVolumes(s *snapshot.Snapshot, pod *snapshot.Pod) framework.NodeFilter {
	if s.Storage == nil || len(pod.Claims) == 0 {
		return nil
	}
	w := wantsOf(s, pod)
	if w.gone {
		return func(*snapshot.Node) *framework.Reason { return reasonVolumeGone }
	}
	if len(w.bound)+len(w.unbound) == 0 {
		return nil
	}
	return func(n *snapshot.Node) *framework.Reason {
		for i := range w.bound {
			if !w.bound[i].reaches(n) {
				return reasonVolumeAffinity
			}
		}
		if _, ok := w.fill(n); !ok {
			return reasonNoVolume
		}
		return nil
	}
}

// placed is a volume with the nodes from where it can be reached.
type placed struct {
	*corev1.PersistentVolume
	anywhere bool
	terms    []nodeTerm
}

func place(v *corev1.PersistentVolume) placed {
	out := placed{PersistentVolume: v}
	if v.Spec.NodeAffinity == nil || v.Spec.NodeAffinity.Required == nil {
		out.anywhere = true
		return out
	}
	for _, t := range v.Spec.NodeAffinity.Required.NodeSelectorTerms {
		out.terms = append(out.terms, compileTerm(t))
	}
	return out
}

func (p *placed) reaches(n *snapshot.Node) bool {
	if p.anywhere {
		return true
	}
	return slices.ContainsFunc(p.terms, func(t nodeTerm) bool { return t.matches(n) })
}

// open is a claim that has no volume yet, and the volumes that it may get.
type open struct {
	claim *corev1.PersistentVolumeClaim
	class *storagev1.StorageClass
	free  map[string]placed
	all   []*corev1.PersistentVolume
}

// wants is what a pod's claims mean for its place.
type wants struct {
	gone    bool
	bound   []placed
	unbound []open
}

func wantsOf(s *snapshot.Snapshot, pod *snapshot.Pod) wants {
	var w wants
	for _, name := range pod.Claims {
		c := s.Storage.Claim(pod.Object.Namespace, name)
		switch {
		case c == nil:
		case volume.IsBound(c):
			v := s.Storage.Volume(c.Spec.VolumeName)
			if v == nil {
				w.gone = true
				return w
			}
			w.bound = append(w.bound, place(v))
		case waits(s, c):
			class, _ := volume.ClassOfClaim(c)
			o := open{claim: c, class: s.Storage.Class(class), all: s.Storage.Free(class, c), free: map[string]placed{}}
			for _, v := range o.all {
				o.free[v.Name] = place(v)
			}
			w.unbound = append(w.unbound, o)
		}
	}
	// The smallest claim chooses first, so that none takes more than it needs from a larger one.
	slices.SortFunc(w.unbound, func(a, b open) int {
		x, y := a.claim.Spec.Resources.Requests[corev1.ResourceStorage], b.claim.Spec.Resources.Requests[corev1.ResourceStorage]
		return cmp.Or(x.Cmp(y), cmp.Compare(a.claim.Name, b.claim.Name))
	})
	return w
}

// ClaimPlan is how one claim is to get its volume.
type ClaimPlan struct {
	Claim *corev1.PersistentVolumeClaim
	// Volume is one that exists; nil: one is to be made on the pod's node.
	Volume *corev1.PersistentVolume
}

// fill finds volumes for all open claims on a node.
func (w *wants) fill(n *snapshot.Node) (plans []ClaimPlan, ok bool) {
	taken := map[string]bool{}
	for i := range w.unbound {
		o := &w.unbound[i]
		selected := o.claim.Annotations[volume.SelectedNode]
		if selected != "" && selected != n.Name {
			return nil, false // it is being made elsewhere
		}
		best, found := volume.Best(o.all, o.claim, func(v *corev1.PersistentVolume) bool {
			p := o.free[v.Name]
			return !taken[v.Name] && p.reaches(n)
		})
		switch {
		case found:
			taken[best.Name] = true
			plans = append(plans, ClaimPlan{o.claim, best.PersistentVolume})
		case o.class.Provisioner == volume.NoProvisioner || !allowed(o.class, n):
			return nil, false
		default:
			plans = append(plans, ClaimPlan{Claim: o.claim})
		}
	}
	return plans, true
}

// allowed says whether volumes of a class may be made for a node.
func allowed(class *storagev1.StorageClass, n *snapshot.Node) bool {
	if len(class.AllowedTopologies) == 0 {
		return true
	}
	return slices.ContainsFunc(class.AllowedTopologies, func(t corev1.TopologySelectorTerm) bool {
		return !slices.ContainsFunc(t.MatchLabelExpressions, func(r corev1.TopologySelectorLabelRequirement) bool {
			return !slices.Contains(r.Values, n.Object.Labels[r.Key])
		})
	})
}

// PlanClaims says how the claims of a pod get their volumes on the node that was chosen for it.
func PlanClaims(s *snapshot.Snapshot, pod *snapshot.Pod, n *snapshot.Node) []ClaimPlan {
	if s.Storage == nil || len(pod.Claims) == 0 {
		return nil
	}
	w := wantsOf(s, pod)
	plans, _ := w.fill(n)
	return plans
}
