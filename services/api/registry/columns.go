package registry

import (
	"strings"
	"time"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/util/duration"
)

// none and unknown are what tables show for nothing and for not known.
const (
	none    = "<none>"
	unknown = "<unknown>"
)

// columns declares a table: titles separated by "|", those of wide only shown with -o wide. A title that ends with
// "#" holds integers.
func columns(narrow string, wide ...string) []metav1.TableColumnDefinition {
	defs := appendColumns(nil, narrow, 0)
	for _, w := range wide {
		defs = appendColumns(defs, w, 1)
	}
	return defs
}

func appendColumns(defs []metav1.TableColumnDefinition, titles string, priority int32) []metav1.TableColumnDefinition {
	for title := range strings.SplitSeq(titles, "|") {
		d := metav1.TableColumnDefinition{Name: strings.TrimSuffix(title, "#"), Type: "string", Priority: priority}
		if d.Name != title {
			d.Type = "integer"
		}
		if title == "Name" {
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
