package registry

import (
	"cmp"
	"fmt"
	"maps"
	"slices"
	"strings"
	"time"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/util/duration"
)

// none and unknown are what tables show for nothing and for not known.
const (
	none    = "<none>"
	unknown = "<unknown>"
)

// columns declares a table by its titles, separated by "|". A title that starts with "+" is shown only with -o wide,
// one that ends with "#" holds integers.
func columns(titles string) []metav1.TableColumnDefinition {
	var defs []metav1.TableColumnDefinition
	for title := range strings.SplitSeq(titles, "|") {
		d := metav1.TableColumnDefinition{Name: strings.Trim(title, "+#"), Type: "string"}
		if strings.HasPrefix(title, "+") {
			d.Priority = 1
		}
		if strings.HasSuffix(title, "#") {
			d.Type = "integer"
		}
		if d.Name == "Name" {
			d.Format = "name"
		}
		d.Description = columnDocs[d.Name]
		defs = append(defs, d)
	}
	return defs
}

// columnDocs describes the columns that many kinds have; kubectl does not show them.
var columnDocs = map[string]string{
	"Name": metav1.ObjectMeta{}.SwaggerDoc()["name"],
	"Age":  metav1.ObjectMeta{}.SwaggerDoc()["creationTimestamp"],
}

func nameAndAge(obj Object, now time.Time) []any {
	return []any{obj.GetName(), age(obj.GetCreationTimestamp(), now)}
}

// age is how long ago t was, as people read it: "5s", "3d4h".
func age(t metav1.Time, now time.Time) string {
	if t.IsZero() {
		return unknown
	}
	return duration.HumanDuration(now.Sub(t.Time))
}

// orNone is s, or <none> when it is empty.
func orNone(s string) string {
	if s == "" {
		return none
	}
	return s
}

// orUnknown is s, or <unknown> when it is empty.
func orUnknown(s string) string {
	if s == "" {
		return unknown
	}
	return s
}

// createdAt is the form in which tables of RBAC kinds show when an object was made.
func createdAt(t metav1.Time) string { return t.UTC().Format("2006-01-02T15:04:05Z") }

// few lists at most three items and counts the rest, nothing when there is none.
func few(items []string, nothing string) string {
	const shown = 3
	switch {
	case len(items) == 0:
		return nothing
	case len(items) <= shown:
		return strings.Join(items, ",")
	}
	return fmt.Sprintf("%s + %d more...", strings.Join(items[:shown], ","), len(items)-shown)
}

// containersAndImages are the two wide cells of every kind that has a pod template.
func containersAndImages(spec *corev1.PodSpec) (containers, images string) {
	var names, imgs []string
	for i := range spec.Containers {
		names = append(names, spec.Containers[i].Name)
		imgs = append(imgs, spec.Containers[i].Image)
	}
	return strings.Join(names, ","), strings.Join(imgs, ",")
}

// deref is what p points to, or the zero value.
func deref[T any](p *T) T {
	if p == nil {
		return *new(T)
	}
	return *p
}

// sorted are a map's keys in order, so that the same mistakes are always told in the same order.
func sorted[M ~map[K]V, K cmp.Ordered, V any](m M) []K { return slices.Sorted(maps.Keys(m)) }
