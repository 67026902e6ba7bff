package authz

import "strings"

// URI returns the path that a request has over HTTP.
func (a Attributes) URI() string {
	if a.Path != "" {
		return a.Path
	}
	var b strings.Builder
	if a.Group == "" {
		b.WriteString("/api/" + a.Version)
	} else {
		b.WriteString("/apis/" + a.Group + "/" + a.Version)
	}
	if a.Namespace != "" && a.Resource != "namespaces" {
		b.WriteString("/namespaces/" + a.Namespace)
	}
	for _, part := range []string{a.Resource, a.Name, a.Subresource} {
		if part != "" {
			b.WriteString("/" + part)
		}
	}
	return b.String()
}
