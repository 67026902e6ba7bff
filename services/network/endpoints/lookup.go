package endpoints

import (
	"maps"
	"slices"

	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/api/equality"

	"karve.dev/karve/internal/conditions"
	"karve.dev/karve/internal/informer"
)

// lookup finds the pods of a service and the services of a pod without looking at all of a namespace.
type lookup struct {
	services *informer.Informer[*corev1.Service]
	pods     *informer.Informer[*corev1.Pod]
	nodes    *informer.Informer[*corev1.Node]
}

const (
	bySelector = "endpoints/selector"
	byLabel    = "endpoints/label"
)

func newLookup(set *informer.Set) lookup {
	l := lookup{services: informer.For[*corev1.Service](set), pods: informer.For[*corev1.Pod](set), nodes: informer.For[*corev1.Node](set)}
	l.services.AddIndex(bySelector, func(svc *corev1.Service) []string {
		if pair, ok := representative(svc); ok {
			return []string{pair}
		}
		return nil
	})
	l.pods.AddIndex(byLabel, func(p *corev1.Pod) []string {
		var out []string
		for k, v := range p.Labels {
			if !hashes[k] {
				out = append(out, pairOf(p.Namespace, k, v))
			}
		}
		return out
	})
	return l
}

// hashes are labels that differ from rollout to rollout: not worth an index.
var hashes = map[string]bool{"pod-template-hash": true, "controller-revision-hash": true, "pod-template-generation": true}

func pairOf(namespace, key, value string) string { return namespace + "/" + key + "=" + value }

// representative is one pair of the service's selector: every pod that the service selects has it. When all pairs are
// hashes there is none that is indexed, and hashed stands for the whole namespace.
func representative(svc *corev1.Service) (string, bool) {
	if len(svc.Spec.Selector) == 0 {
		return "", false
	}
	for _, k := range slices.Sorted(maps.Keys(svc.Spec.Selector)) {
		if !hashes[k] {
			return pairOf(svc.Namespace, k, svc.Spec.Selector[k]), true
		}
	}
	return hashed(svc.Namespace), true
}

func hashed(namespace string) string { return namespace + "/" }

func selects(svc *corev1.Service, p *corev1.Pod) bool {
	for k, v := range svc.Spec.Selector {
		if have, ok := p.Labels[k]; !ok || have != v {
			return false
		}
	}
	return len(svc.Spec.Selector) > 0
}

func (l lookup) podsOf(svc *corev1.Service) []*corev1.Pod {
	pair, ok := representative(svc)
	var candidates []*corev1.Pod
	switch {
	case !ok:
		return nil
	case pair == hashed(svc.Namespace):
		candidates = l.pods.List(svc.Namespace, nil)
	default:
		candidates = l.pods.ByIndex(byLabel, pair)
	}
	return slices.DeleteFunc(candidates, func(p *corev1.Pod) bool { return !selects(svc, p) })
}

func (l lookup) servicesOf(p *corev1.Pod) []informer.Key {
	var out []informer.Key
	find := func(pair string) {
		for _, svc := range l.services.ByIndex(bySelector, pair) {
			if selects(svc, p) {
				out = append(out, informer.KeyOf(svc))
			}
		}
	}
	for k, v := range p.Labels {
		find(pairOf(p.Namespace, k, v))
	}
	find(hashed(p.Namespace))
	return out
}

func (l lookup) zone(node string) string {
	if node == "" {
		return ""
	}
	n, ok := l.nodes.Get("", node)
	if !ok {
		return ""
	}
	return zoneOf(n)
}

func zoneOf(n *corev1.Node) string {
	if n == nil {
		return ""
	}
	return n.Labels[corev1.LabelTopologyZone]
}

// matters says whether a change of a pod can change endpoints.
func matters(old, new *corev1.Pod) bool {
	switch {
	case old == nil:
		return listed(new)
	case new == nil:
		return listed(old)
	case !listed(old) && !listed(new):
		return false
	}
	return listed(old) != listed(new) || conditions.PodReady(old) != conditions.PodReady(new) || (old.DeletionTimestamp == nil) != (new.DeletionTimestamp == nil) ||
		old.Spec.NodeName != new.Spec.NodeName ||
		!slices.Equal(addresses(old), addresses(new)) || !equality.Semantic.DeepEqual(old.Labels, new.Labels)
}
