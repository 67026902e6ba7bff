package quota

import (
	"slices"
	"strings"

	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/api/resource"
)

func one() resource.Quantity { return *resource.NewQuantity(1, resource.DecimalSI) }

func count(n int) resource.Quantity { return *resource.NewQuantity(int64(n), resource.DecimalSI) }

// addTo adds to sums the amounts of those resources that sums has.
func addTo(sums, more corev1.ResourceList) {
	for name, sum := range sums {
		if q, ok := more[name]; ok {
			sum.Add(q)
			sums[name] = sum
		}
	}
}

// growth returns by how much now is above before, for each resource that grew.
func growth(now, before corev1.ResourceList) corev1.ResourceList {
	out := corev1.ResourceList{}
	for name, q := range now {
		q = q.DeepCopy()
		if was, ok := before[name]; ok {
			q.Sub(was)
		}
		if q.Sign() > 0 {
			out[name] = q
		}
	}
	return out
}

// only returns what list says of the resources in names.
func only(list, names corev1.ResourceList) corev1.ResourceList {
	out := corev1.ResourceList{}
	for name, q := range list {
		if _, ok := names[name]; ok {
			out[name] = q
		}
	}
	return out
}

// same reports whether two lists have the same amounts of the same resources.
func same(a, b corev1.ResourceList) bool {
	if len(a) != len(b) {
		return false
	}
	for name, q := range a {
		other, ok := b[name]
		if !ok || q.Cmp(other) != 0 {
			return false
		}
	}
	return true
}

// shown lists resources as "name=amount", in order.
func shown(list corev1.ResourceList) string {
	parts := make([]string, 0, len(list))
	for name, q := range list {
		parts = append(parts, string(name)+"="+q.String())
	}
	slices.Sort(parts)
	return strings.Join(parts, ",")
}

func shownNames(names []corev1.ResourceName) string {
	parts := make([]string, len(names))
	for i, name := range names {
		parts[i] = string(name)
	}
	slices.Sort(parts)
	return strings.Join(parts, ",")
}
