package extension

import (
	"bytes"
	"fmt"
	"reflect"
	"strings"
	"time"

	apiextensionsv1 "k8s.io/apiextensions-apiserver/pkg/apis/apiextensions/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/fields"
	"k8s.io/apimachinery/pkg/util/duration"
	"k8s.io/client-go/util/jsonpath"
)

// table is how kubectl get shows a custom kind.
type table struct {
	columns []metav1.TableColumnDefinition
	// paths are those of all columns but the first, which is the name.
	paths []string
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
		t.paths = append(t.paths, c.JSONPath)
	}
	return t
}

// cells evaluates the columns. Paths are parsed each time: a parsed one keeps state and is for one goroutine only.
func (t *table) cells(c *Custom, now time.Time) []any {
	content := c.content()
	out := make([]any, 1, len(t.columns))
	out[0] = c.Name
	for i, path := range t.paths {
		out = append(out, cell(content, path, t.columns[i+1].Type, now))
	}
	return out
}

func cell(content map[string]any, path, typ string, now time.Time) any {
	p, err := parse(path)
	if err != nil {
		return nil
	}
	found, err := p.FindResults(content)
	if err != nil || len(found) == 0 || len(found[0]) == 0 {
		return nil
	}
	value := found[0][0].Interface()
	if typ != "string" {
		return typed(typ, value, now)
	}
	var text bytes.Buffer
	if err := p.PrintResults(&text, []reflect.Value{reflect.ValueOf(value)}); err != nil {
		return nil
	}
	return text.String()
}

func parse(path string) (*jsonpath.JSONPath, error) {
	p := jsonpath.New("path").AllowMissingKeys(true)
	if err := p.Parse("{" + path + "}"); err != nil {
		return nil, fmt.Errorf("path %q: %w", path, err)
	}
	return p, nil
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

// selectable are the paths of fields by which objects can be selected.
type selectable []string

// selectables are those of all versions: the objects are the same. Nil for none.
func selectables(d *definition) selectable {
	var out selectable
	seen := map[string]bool{}
	for i := range d.Spec.Versions {
		for _, f := range d.Spec.Versions[i].SelectableFields {
			if !seen[f.JSONPath] {
				seen[f.JSONPath] = true
				out = append(out, f.JSONPath)
			}
		}
	}
	return out
}

// of returns the fields' values as text; a field that is not there is empty.
func (s selectable) of(c *Custom) fields.Set {
	out := make(fields.Set, len(s))
	content := c.content()
	for _, path := range s {
		name := strings.TrimPrefix(path, ".")
		out[name] = ""
		p, err := parse(path)
		if err != nil {
			continue
		}
		found, err := p.FindResults(content)
		if err == nil && len(found) > 0 && len(found[0]) > 0 && found[0][0].Interface() != nil {
			out[name] = fmt.Sprint(found[0][0].Interface())
		}
	}
	return out
}
