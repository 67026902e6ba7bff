package route

import "strings"

// Proxied is a request that goes on to what a pod, service or node serves.
type Proxied struct {
	Target
	// Prefix is the path up to and with the subresource; Rest is what follows: empty, or a path that begins with a slash.
	Prefix, Rest string
}

// Proxy finds the target of a request for the proxy subresource. All that follows belongs to whom it goes on to.
func (t *Table) Proxy(method, path string) (Proxied, bool) {
	if !strings.Contains(path, "/proxy") {
		return Proxied{}, false
	}
	version, after, ok := cutVersion(path)
	if !ok {
		return Proxied{}, false
	}
	parts := strings.SplitN(after, "/", 6)
	at := 2
	namespace := ""
	if parts[0] == "namespaces" && len(parts) > 4 {
		at, namespace = 4, parts[1]
	}
	if len(parts) <= at || parts[at] != "proxy" || parts[at-1] == "" {
		return Proxied{}, false
	}
	r := t.byVersion[version][parts[at-2]]
	if r == nil || r.subs["proxy"] == nil || r.Namespaced != (namespace != "") {
		return Proxied{}, false
	}
	p := Proxied{Target: Target{Resource: r, Sub: r.subs["proxy"], Namespace: namespace, Name: parts[at-1]}}
	p.Verb = methodVerbs[method].object
	if len(parts) > at+1 {
		p.Rest = "/" + strings.Join(parts[at+1:], "/")
	}
	p.Prefix = path[:len(path)-len(p.Rest)]
	return p, true
}

// Escaped returns the rest in the escapes that the client chose, given the request's whole path with them.
func (p *Proxied) Escaped(path string) string {
	for range strings.Count(p.Prefix, "/") {
		if len(path) == 0 {
			return ""
		}
		i := strings.IndexByte(path[1:], '/')
		if i < 0 {
			return ""
		}
		path = path[1+i:]
	}
	return path
}
