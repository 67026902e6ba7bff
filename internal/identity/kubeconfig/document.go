package kubeconfig

import (
	"bytes"
	"encoding/base64"
	"errors"
	"fmt"
	"io"

	"go.yaml.in/yaml/v3"
)

// document is a kubeconfig as YAML nodes, so that comments and fields that we do not know survive.
type document struct{ root *yaml.Node }

func parse(data []byte) (*document, error) {
	dec := yaml.NewDecoder(bytes.NewReader(data))
	var node yaml.Node
	if err := dec.Decode(&node); err != nil && !errors.Is(err, io.EOF) {
		return nil, err
	}
	var more yaml.Node
	if err := dec.Decode(&more); !errors.Is(err, io.EOF) {
		return nil, errors.New("more than one document")
	}
	if node.Kind == 0 || len(node.Content) == 1 && node.Content[0].Tag == "!!null" {
		node = yaml.Node{Kind: yaml.DocumentNode, Content: []*yaml.Node{mapping("apiVersion", text("v1"), "kind", text("Config"))}}
	}
	doc := &document{root: &node}
	top := node.Content[0]
	if top.Kind != yaml.MappingNode {
		return nil, errors.New("the top level is no mapping")
	}
	if kind := get(top, "kind"); kind != nil && kind.Value != "Config" {
		return nil, fmt.Errorf("its kind is %q", kind.Value)
	}
	return doc, nil
}

func (d *document) bytes() ([]byte, error) {
	var out bytes.Buffer
	enc := yaml.NewEncoder(&out)
	enc.SetIndent(2)
	enc.CompactSeqIndent()
	if err := enc.Encode(d.root); err != nil {
		return nil, err
	}
	return out.Bytes(), enc.Close()
}

// field is a value to set; a nil value takes the field away.
type field struct {
	name  string
	value *yaml.Node
}

func (d *document) merge(e Entry) (changed bool, err error) {
	for _, part := range []struct {
		list, item string
		fields     []field
	}{
		{"clusters", "cluster", []field{
			{"certificate-authority-data", encoded(e.CA)}, {"server", text(e.Server)},
			{"certificate-authority", nil}, {"insecure-skip-tls-verify", nil}, {"tls-server-name", nil}, {"proxy-url", nil},
		}},
		{"users", "user", []field{
			{"client-certificate-data", encoded(e.Cert)}, {"client-key-data", encoded(e.Key)},
			{"client-certificate", nil}, {"client-key", nil}, {"token", nil}, {"tokenFile", nil},
			{"username", nil}, {"password", nil}, {"exec", nil}, {"auth-provider", nil}, {"as", nil}, {"as-uid", nil}, {"as-groups", nil}, {"as-user-extra", nil},
		}},
		{"contexts", "context", []field{{"cluster", text(e.Name)}, {"user", text(e.Name)}}},
	} {
		list, err := d.list(part.list)
		if err != nil {
			return false, err
		}
		item := named(list, e.Name)
		if item == nil {
			item = mapping(part.item, mapping(), "name", text(e.Name))
			list.Content = append(list.Content, item)
			changed = true
		}
		body := get(item, part.item)
		if body == nil || body.Kind != yaml.MappingNode {
			body = mapping()
			set(item, part.item, body)
		}
		for _, f := range part.fields {
			changed = apply(body, f) || changed
		}
	}
	return apply(d.root.Content[0], field{"current-context", text(e.Name)}) || changed, nil
}

func apply(body *yaml.Node, f field) bool {
	have := get(body, f.name)
	switch {
	case f.value == nil && have == nil:
		return false
	case f.value == nil:
		unset(body, f.name)
	case have != nil && have.Kind == yaml.ScalarNode && have.Value == f.value.Value:
		return false
	default:
		set(body, f.name, f.value)
	}
	return true
}

func (d *document) remove(name string) (changed bool, err error) {
	for _, key := range []string{"clusters", "users", "contexts"} {
		if get(d.root.Content[0], key) == nil {
			continue
		}
		list, err := d.list(key)
		if err != nil {
			return false, err
		}
		for i := len(list.Content) - 1; i >= 0; i-- {
			if n := get(list.Content[i], "name"); n != nil && n.Value == name {
				list.Content = append(list.Content[:i], list.Content[i+1:]...)
				changed = true
			}
		}
		if len(list.Content) == 0 {
			list.Style = yaml.FlowStyle
		}
	}
	if current := get(d.root.Content[0], "current-context"); current != nil && current.Value == name {
		set(d.root.Content[0], "current-context", text(""))
		changed = true
	}
	return changed, nil
}

// list returns a top-level list, made when it is missing.
func (d *document) list(key string) (*yaml.Node, error) {
	top := d.root.Content[0]
	found := get(top, key)
	if found == nil || found.Tag == "!!null" {
		found = &yaml.Node{Kind: yaml.SequenceNode, Tag: "!!seq"}
		set(top, key, found)
	}
	if found.Kind != yaml.SequenceNode {
		return nil, fmt.Errorf("its %s are no list", key)
	}
	for _, item := range found.Content {
		if item.Kind != yaml.MappingNode {
			return nil, fmt.Errorf("its %s are not named entries", key)
		}
	}
	if len(found.Content) == 0 {
		found.Style = 0
	}
	return found, nil
}

func named(list *yaml.Node, name string) *yaml.Node {
	for _, item := range list.Content {
		if n := get(item, "name"); n != nil && n.Value == name {
			return item
		}
	}
	return nil
}

func get(m *yaml.Node, key string) *yaml.Node {
	for i := 0; i+1 < len(m.Content); i += 2 {
		if m.Content[i].Value == key {
			return m.Content[i+1]
		}
	}
	return nil
}

func set(m *yaml.Node, key string, value *yaml.Node) {
	for i := 0; i+1 < len(m.Content); i += 2 {
		if m.Content[i].Value == key {
			value.LineComment = m.Content[i+1].LineComment
			m.Content[i+1] = value
			return
		}
	}
	m.Content = append(m.Content, text(key), value)
}

func unset(m *yaml.Node, key string) {
	for i := 0; i+1 < len(m.Content); i += 2 {
		if m.Content[i].Value == key {
			m.Content = append(m.Content[:i], m.Content[i+2:]...)
			return
		}
	}
}

func mapping(pairs ...any) *yaml.Node {
	m := &yaml.Node{Kind: yaml.MappingNode, Tag: "!!map"}
	for i := 0; i+1 < len(pairs); i += 2 {
		m.Content = append(m.Content, text(pairs[i].(string)), pairs[i+1].(*yaml.Node))
	}
	return m
}

func text(s string) *yaml.Node {
	n := &yaml.Node{}
	n.SetString(s)
	return n
}

func encoded(data []byte) *yaml.Node { return text(base64.StdEncoding.EncodeToString(data)) }
