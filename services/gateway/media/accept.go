// Package media is about content types: what a client accepts, how bytes of the API service become a body of that type,
// and how a request's body becomes bytes for the API service.
package media

import (
	"strconv"
	"strings"

	apiv1 "karve.dev/karve/gen/go/karve/api/v1"
)

// Type is one of the encodings that the API is spoken in.
type Type uint8

// The encodings.
const (
	JSON Type = iota
	YAML
	Protobuf
)

// ContentTypes as they stand in headers.
const (
	ContentTypeJSON     = "application/json"
	ContentTypeYAML     = "application/yaml"
	ContentTypeProtobuf = "application/vnd.kubernetes.protobuf"
)

// String returns the content type.
func (t Type) String() string {
	return [...]string{ContentTypeJSON, ContentTypeYAML, ContentTypeProtobuf}[t]
}

// maxClauses bounds how much of an Accept header is read.
const maxClauses = 32

// Clause is one alternative of an Accept header with the parameters that Kubernetes gives a meaning to.
type Clause struct {
	// Type is the media type in lower case as sent, "*/*" for an empty header.
	Type string
	// As, Group and Version ask for another kind than the resource's own.
	As, Group, Version string
	q                  float32
}

// Clauses reads an Accept header into buf and returns its clauses, the most wanted first: by weight, then the specific
// before the wild, then as written. Clauses that are refused by q=0 or malformed are left out. It allocates nothing when
// the header fits into buf.
func Clauses(header string, buf []Clause) []Clause {
	out := buf[:0]
	for len(out) < maxClauses && header != "" {
		var one string
		one, header, _ = strings.Cut(header, ",")
		c, ok := parseClause(one)
		if !ok {
			continue
		}
		out = append(out, c)
		for i := len(out) - 1; i > 0 && before(&out[i], &out[i-1]); i-- {
			out[i], out[i-1] = out[i-1], out[i]
		}
	}
	return out
}

func before(a, b *Clause) bool {
	if a.q != b.q {
		return a.q > b.q
	}
	return wildness(a.Type) < wildness(b.Type)
}

func wildness(t string) int {
	switch {
	case t == "*/*":
		return 2
	case strings.HasSuffix(t, "/*"):
		return 1
	}
	return 0
}

func parseClause(s string) (Clause, bool) {
	c := Clause{q: 1}
	name, params, _ := strings.Cut(s, ";")
	c.Type = strings.ToLower(strings.TrimSpace(name))
	if slash := strings.IndexByte(c.Type, '/'); slash <= 0 || slash == len(c.Type)-1 {
		return c, false
	}
	for params != "" {
		var p string
		p, params, _ = strings.Cut(params, ";")
		key, value, _ := strings.Cut(p, "=")
		value = strings.Trim(strings.TrimSpace(value), `"`)
		switch strings.TrimSpace(key) {
		case "as":
			c.As = value
		case "g":
			c.Group = value
		case "v":
			c.Version = value
		case "q":
			q, err := strconv.ParseFloat(value, 32)
			if err != nil || q < 0 || q > 1 {
				return c, false
			}
			c.q = float32(q)
		}
	}
	return c, c.q > 0
}

// typeOf maps what a clause may say to what answers it.
var typeOf = map[string]Type{
	ContentTypeJSON: JSON, "*/*": JSON, "application/*": JSON, ContentTypeYAML: YAML, "application/x-yaml": YAML, ContentTypeProtobuf: Protobuf,
}

// Accepted is how a client wants objects answered.
type Accepted struct {
	Type Type
	Form apiv1.Form
	// JSONToo is set with Protobuf when the client takes JSON for kinds that have no protobuf form.
	JSONToo bool
}

// Default answers a client that says nothing.
var Default = Accepted{Type: JSON, Form: apiv1.Form_FORM_OBJECT}

// Negotiate returns how to answer an Accept header for a resource; ok is false when nothing that the client accepts can
// be had (HTTP 406).
func Negotiate(header string) (accepted Accepted, ok bool) {
	switch header {
	case "", ContentTypeJSON, "*/*":
		return Default, true
	}
	var buf [8]Clause
	clauses := Clauses(header, buf[:])
	for i := range clauses {
		a, good := clauses[i].accepted()
		if !good {
			continue
		}
		if a.Type == Protobuf {
			a.JSONToo = anyJSON(clauses[i+1:], a.Form)
		}
		return a, true
	}
	return Accepted{}, false
}

func anyJSON(clauses []Clause, form apiv1.Form) bool {
	for i := range clauses {
		if a, ok := clauses[i].accepted(); ok && a.Type == JSON && a.Form == form {
			return true
		}
	}
	return false
}

// forms are the other kinds that any resource can be had as. A table has no protobuf form.
var forms = map[string]apiv1.Form{
	"Table":                     apiv1.Form_FORM_TABLE,
	"PartialObjectMetadata":     apiv1.Form_FORM_METADATA,
	"PartialObjectMetadataList": apiv1.Form_FORM_METADATA,
}

func (c *Clause) accepted() (Accepted, bool) {
	t, ok := typeOf[c.Type]
	if !ok {
		return Accepted{}, false
	}
	if c.As == "" {
		return Accepted{Type: t, Form: apiv1.Form_FORM_OBJECT}, true
	}
	form, ok := forms[c.As]
	if !ok || c.Group != "meta.k8s.io" || c.Version != "v1" || (form == apiv1.Form_FORM_TABLE && t == Protobuf) {
		return Accepted{}, false
	}
	return Accepted{Type: t, Form: form}, true
}
