package image

import (
	"slices"
	"strings"

	corev1 "k8s.io/api/core/v1"

	"karve.dev/karve/agents/node/runtime"
)

// pullPolicy is the container's, or the default that its tag implies.
func pullPolicy(c *corev1.Container) corev1.PullPolicy {
	if c.ImagePullPolicy != "" {
		return c.ImagePullPolicy
	}
	if tag := tagOf(c.Image); tag == "" || tag == "latest" {
		return corev1.PullAlways
	}
	return corev1.PullIfNotPresent
}

func tagOf(name string) string {
	if _, digest, ok := strings.Cut(name, "@"); ok {
		return digest
	}
	last := name[strings.LastIndex(name, "/")+1:]
	_, tag, _ := strings.Cut(last, ":")
	return tag
}

// hasRegistry tells whether a name carries a registry host, by the rule that every container tool follows: its first
// part has a dot or a port, or is localhost.
func hasRegistry(name string) bool {
	host, _, more := strings.Cut(name, "/")
	return more && (strings.ContainsAny(host, ".:") || host == "localhost")
}

// Reference names an image that was pulled by its digest and with its registry; empty for one that no registry has.
func Reference(name string, img runtime.Image) string {
	for _, digest := range img.Digests {
		repository, sum, _ := strings.Cut(digest, "@")
		if repository != repositoryOf(name) {
			continue
		}
		if !hasRegistry(repository) {
			if !strings.Contains(repository, "/") {
				repository = "library/" + repository
			}
			repository = "docker.io/" + repository
		}
		return repository + "@" + sum
	}
	return ""
}

// repositoryOf is a name without its tag and digest.
func repositoryOf(name string) string {
	name, _, _ = strings.Cut(name, "@")
	if i := strings.LastIndex(name, ":"); i > strings.LastIndex(name, "/") {
		name = name[:i]
	}
	for _, usual := range []string{"docker.io/library/", "docker.io/"} {
		if rest, ok := strings.CutPrefix(name, usual); ok {
			return rest // as the engine writes it
		}
	}
	return name
}

// valid checks a reference's form: lower-case path, then an optional tag and digest.
func valid(name string) bool {
	path, digest, hasDigest := strings.Cut(name, "@")
	if hasDigest && !strings.Contains(digest, ":") {
		return false
	}
	host, rest, more := strings.Cut(path, "/")
	if more && hasRegistry(name) {
		path = rest
		if host == "" {
			return false
		}
	}
	repository, tag := path, ""
	if i := strings.LastIndex(path, ":"); i > strings.LastIndex(path, "/") {
		repository, tag = path[:i], path[i+1:]
		if tag == "" || len(tag) > 128 || !every(tag, isTagRune) {
			return false
		}
	}
	return !slices.ContainsFunc(strings.Split(repository, "/"), func(part string) bool {
		return part == "" || !every(part, isPathRune) || !isAlphanumeric(rune(part[0])) || !isAlphanumeric(rune(part[len(part)-1]))
	})
}

func every(s string, ok func(rune) bool) bool {
	return !strings.ContainsFunc(s, func(r rune) bool { return !ok(r) })
}

func isAlphanumeric(r rune) bool { return r >= 'a' && r <= 'z' || r >= '0' && r <= '9' }
func isPathRune(r rune) bool     { return isAlphanumeric(r) || r == '.' || r == '_' || r == '-' }
func isTagRune(r rune) bool      { return isPathRune(r) || r >= 'A' && r <= 'Z' }
