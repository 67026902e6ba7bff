// Command markers reads out of the comments of Kubernetes' API types what their Go declarations do not tell: how lists
// merge, what is optional, which values a string may have. It prints one line a type or field, for the OpenAPI documents.
package main

import (
	"bufio"
	"fmt"
	"go/ast"
	"go/parser"
	"go/token"
	"io/fs"
	"log"
	"os"
	"os/exec"
	"path/filepath"
	"reflect"
	"slices"
	"strconv"
	"strings"
)

// packages are the modules and the folders in them that hold the types of served kinds.
var packages = map[string][]string{
	"k8s.io/api": {"admissionregistration/v1", "apps/v1", "authentication/v1", "authorization/v1", "autoscaling/v1", "autoscaling/v2", "batch/v1",
		"certificates/v1", "coordination/v1", "core/v1", "discovery/v1", "events/v1", "flowcontrol/v1", "networking/v1", "node/v1", "policy/v1", "rbac/v1",
		"resource/v1", "scheduling/v1", "scheduling/v1alpha3", "storage/v1", "storagemigration/v1"},
	"k8s.io/apiextensions-apiserver": {"pkg/apis/apiextensions/v1"},
	"k8s.io/apimachinery":            {"pkg/apis/meta/v1"},
}

func main() {
	var lines []string
	for module, folders := range packages {
		dir, err := exec.Command("go", "list", "-m", "-f", "{{.Dir}}", module).Output()
		if err != nil {
			log.Fatalf("find module %s: %v", module, err)
		}
		for _, folder := range folders {
			found, err := read(filepath.Join(strings.TrimSpace(string(dir)), folder), module+"/"+folder)
			if err != nil {
				log.Fatalf("read %s/%s: %v", module, folder, err)
			}
			lines = append(lines, found...)
		}
	}
	slices.Sort(lines)
	w := bufio.NewWriter(os.Stdout)
	for _, l := range lines {
		fmt.Fprintln(w, l)
	}
	if err := w.Flush(); err != nil {
		log.Fatal(err)
	}
}

// read collects the markers of one package.
func read(dir, path string) ([]string, error) {
	noTests := func(f fs.FileInfo) bool { return !strings.HasSuffix(f.Name(), "_test.go") }
	pkgs, err := parser.ParseDir(token.NewFileSet(), dir, noTests, parser.ParseComments)
	if err != nil {
		return nil, err
	}
	p := &pkg{path: path, enums: map[string]bool{}, values: map[string][]string{}}
	for _, parsed := range pkgs {
		for _, name := range slices.Sorted(keys(parsed.Files)) {
			p.file(parsed.Files[name])
		}
	}
	for name := range p.enums {
		if values := p.values[name]; len(values) > 0 {
			slices.Sort(values)
			p.line(name, "-", "enum="+strings.Join(slices.Compact(values), ","))
		}
	}
	return p.lines, nil
}

func keys[V any](m map[string]V) func(func(string) bool) {
	return func(yield func(string) bool) {
		for k := range m {
			if !yield(k) {
				return
			}
		}
	}
}

type pkg struct {
	path   string
	enums  map[string]bool
	values map[string][]string
	lines  []string
}

func (p *pkg) line(typ, field string, marks ...string) {
	if len(marks) > 0 {
		p.lines = append(p.lines, fmt.Sprintf("%s.%s %s %s", p.path, typ, field, strings.Join(marks, " ")))
	}
}

func (p *pkg) file(f *ast.File) {
	for _, d := range f.Decls {
		g, ok := d.(*ast.GenDecl)
		if !ok {
			continue
		}
		for _, s := range g.Specs {
			switch s := s.(type) {
			case *ast.TypeSpec:
				p.typ(s, marks(g.Doc, s.Doc))
			case *ast.ValueSpec:
				p.constant(g.Tok, s)
			}
		}
	}
}

func (p *pkg) typ(s *ast.TypeSpec, m []string) {
	name := s.Name.Name
	if has(m, "enum") || has(m, "k8s:enum") {
		p.enums[name] = true
	}
	t, ok := s.Type.(*ast.StructType)
	if !ok {
		return
	}
	if value(m, "structType") == "atomic" || value(m, "mapType") == "atomic" {
		p.line(name, "-", "map=atomic")
	}
	for _, f := range t.Fields.List {
		if f.Tag == nil {
			continue
		}
		raw, err := strconv.Unquote(f.Tag.Value)
		if err != nil {
			continue
		}
		json, options, _ := strings.Cut(reflect.StructTag(raw).Get("json"), ",")
		if json == "" || json == "-" {
			continue
		}
		p.line(name, json, fieldMarks(marks(f.Doc), strings.Contains(options, "omit"))...)
	}
}

// fieldMarks are what a field's comment adds to its tag.
func fieldMarks(m []string, omit bool) []string {
	var out []string
	add := func(key, value string) {
		if value != "" {
			out = append(out, key+"="+value)
		}
	}
	add("list", value(m, "listType"))
	add("keys", strings.Join(values(m, "listMapKey"), ","))
	add("map", value(m, "mapType"))
	if value(m, "structType") == "atomic" {
		add("map", "atomic")
	}
	add("default", strings.ReplaceAll(value(m, "default"), " ", ""))
	switch {
	case !omit && (has(m, "optional") || has(m, "k8s:optional")):
		out = append(out, "optional")
	case omit && (has(m, "required") || has(m, "k8s:required")):
		out = append(out, "required")
	}
	return out
}

func (p *pkg) constant(tok token.Token, s *ast.ValueSpec) {
	typ, ok := s.Type.(*ast.Ident)
	if tok != token.CONST || !ok || len(s.Values) != 1 {
		return
	}
	lit, ok := s.Values[0].(*ast.BasicLit)
	if !ok || lit.Kind != token.STRING {
		return
	}
	if v, err := strconv.Unquote(lit.Value); err == nil {
		p.values[typ.Name] = append(p.values[typ.Name], v)
	}
}

// marks are the comment lines that start with "+", without it.
func marks(docs ...*ast.CommentGroup) []string {
	var out []string
	for _, d := range docs {
		if d == nil {
			continue
		}
		for _, c := range d.List {
			if m, ok := strings.CutPrefix(strings.TrimSpace(strings.TrimPrefix(c.Text, "//")), "+"); ok {
				out = append(out, m)
			}
		}
	}
	return out
}

func has(m []string, name string) bool { return slices.Contains(m, name) }

func value(m []string, name string) string {
	if v := values(m, name); len(v) > 0 {
		return v[len(v)-1]
	}
	return ""
}

func values(m []string, name string) []string {
	var out []string
	for _, s := range m {
		if v, ok := strings.CutPrefix(s, name+"="); ok {
			out = append(out, v)
		}
	}
	return out
}
