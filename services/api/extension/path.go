package extension

import (
	"bytes"
	"reflect"
	"regexp"

	"k8s.io/client-go/util/jsonpath"
)

// path is where a value is in an object, as JSONPath says it.
type path struct {
	text string
	// steps are set for paths that only go down by names, as nearly all do: these need no interpreter.
	steps []string
}

var plain = regexp.MustCompile(`^(\.[A-Za-z_][A-Za-z0-9_-]*)+$`)

func newPath(text string) path {
	p := path{text: text}
	if plain.MatchString(text) {
		p.steps = split(text)
	}
	return p
}

// find returns the first value that the path leads to; nil for none.
func (p path) find(c *Custom) any {
	if p.steps == nil {
		return p.interpret(c.content())
	}
	var value any = c.Fields
	switch p.steps[0] {
	case "metadata", "apiVersion", "kind":
		value = c.content()
	}
	for _, step := range p.steps {
		fields, ok := value.(map[string]any)
		if !ok {
			return nil
		}
		value = fields[step]
	}
	return value
}

// interpret parses the path each time: what is parsed keeps state and is for one goroutine only.
func (p path) interpret(content map[string]any) any {
	parsed := jsonpath.New("path").AllowMissingKeys(true)
	if err := parsed.Parse("{" + p.text + "}"); err != nil {
		return nil
	}
	found, err := parsed.FindResults(content)
	if err != nil || len(found) == 0 || len(found[0]) == 0 {
		return nil
	}
	return found[0][0].Interface()
}

// text is a value as kubectl shows it; nil when it cannot.
func text(value any) any {
	if s, ok := value.(string); ok {
		return s
	}
	var out bytes.Buffer
	if err := jsonpath.New("text").PrintResults(&out, []reflect.Value{reflect.ValueOf(value)}); err != nil {
		return nil
	}
	return out.String()
}
