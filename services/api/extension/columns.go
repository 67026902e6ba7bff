package extension

import (
	"fmt"
	"strings"
	"time"

	apiextensionsv1 "k8s.io/apiextensions-apiserver/pkg/apis/apiextensions/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/fields"
	"k8s.io/apimachinery/pkg/util/duration"
)

// table is how kubectl get shows a custom kind.
type table struct {
	columns []metav1.TableColumnDefinition
	// paths are those of all columns but the first, which is the name.
	paths []path
}

// ageColumn is what kinds have that declare no column.
var ageColumn = []apiextensionsv1.CustomResourceColumnDefinition{{
	Name: "Age", Type: "date", JSONPath: ".metadata.creationTimestamp", Description: metav1.ObjectMeta{}.SwaggerDoc()["creationTimestamp"],
}}

func newTable(declared []apiextensionsv1.CustomResourceColumnDefinition) *table {
	if len(declared) == 0 {
		declared = ageColumn
	}
	t := &table{columns: []metav1.TableColumnDefinition{{Name: "Name", Type: "string", Format: "name", Description: metav1.ObjectMeta{}.SwaggerDoc()["name"]}}}
	for i := range declared {
		c := &declared[i]
		column := metav1.TableColumnDefinition{Name: c.Name, Type: c.Type, Format: c.Format, Description: c.Description, Priority: c.Priority}
		if column.Description == "" {
			column.Description = "Custom resource definition column (in JSONPath format): " + c.JSONPath
		}
		t.columns = append(t.columns, column)
		t.paths = append(t.paths, newPath(c.JSONPath))
	}
	return t
}

// cells evaluates the columns.
func (t *table) cells(c *Custom, now time.Time) []any {
	out := make([]any, 1, len(t.columns))
	out[0] = c.Name
	for i, p := range t.paths {
		out = append(out, cell(c, p, t.columns[i+1].Type, now))
	}
	return out
}

func cell(c *Custom, p path, typ string, now time.Time) any {
	value := p.find(c)
	switch {
	case value == nil:
		return nil
	case typ != "string":
		return typed(typ, value, now)
	}
	return text(value)
}

// typed is a value as its column's type wants it; nil when it is of another.
func typed(typ string, value any, now time.Time) any {
	switch v := value.(type) {
	case int64:
		return map[string]any{"integer": v, "number": float64(v)}[typ]
	case float64:
		return map[string]any{"integer": int64(v), "number": v}[typ]
	case bool:
		if typ == "boolean" {
			return v
		}
	case string:
		if typ == "date" {
			at, err := time.Parse(time.RFC3339, v)
			if err != nil {
				return "<invalid>"
			}
			return duration.HumanDuration(now.Sub(at))
		}
	}
	return nil
}

// selectable are the fields by which objects can be selected, by their names.
type selectable map[string]path

// selectables are those of all versions: the objects are the same. Nil for none.
func selectables(d *definition) selectable {
	var out selectable
	for i := range d.Spec.Versions {
		for _, f := range d.Spec.Versions[i].SelectableFields {
			if out == nil {
				out = selectable{}
			}
			out[strings.TrimPrefix(f.JSONPath, ".")] = newPath(f.JSONPath)
		}
	}
	return out
}

// of returns the fields' values as text; a field that is not there is empty.
func (s selectable) of(c *Custom) fields.Set {
	out := make(fields.Set, len(s))
	for name, p := range s {
		out[name] = ""
		if value := p.find(c); value != nil {
			out[name] = fmt.Sprint(value)
		}
	}
	return out
}
