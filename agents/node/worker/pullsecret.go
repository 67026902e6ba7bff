package worker

import (
	"cmp"
	"encoding/base64"
	"encoding/json"
	"os"
	"path"
	"slices"
	"strings"

	corev1 "k8s.io/api/core/v1"

	"karve.dev/karve/agents/node/runtime"
)

type dockerAuth struct {
	Username, Password, Auth, IdentityToken, RegistryToken string
}

// pullSecrets returns the credentials for the image's registry, the most particular first: among the pod's
// imagePullSecrets, then among the node's own logins.
func (w *worker) pullSecrets(pod *corev1.Pod, image string) []runtime.Credentials {
	var out []runtime.Credentials
	for _, ref := range pod.Spec.ImagePullSecrets {
		secret := w.pool.cfg.Objects.Secret(pod.Namespace, ref.Name)
		if secret == nil {
			continue // an image may be public: the pull tells
		}
		out = append(out, forImage(registries(secret), image)...)
	}
	if file := w.pool.cfg.RegistryAuth; file != "" {
		if text, err := os.ReadFile(file); err == nil {
			out = append(out, forImage(logins(text), image)...)
		}
	}
	return out
}

// forImage chooses what is for an image, the longest names of registries first.
func forImage(auths map[string]dockerAuth, image string) []runtime.Credentials {
	var names []string
	for registry := range auths {
		if matches(registry, image) {
			names = append(names, registry)
		}
	}
	slices.SortFunc(names, func(a, b string) int {
		return cmp.Or(cmp.Compare(len(b), len(a)), cmp.Compare(a, b))
	})
	var out []runtime.Credentials
	for _, registry := range names {
		out = append(out, credentials(registry, auths[registry]))
	}
	return out
}

func registries(secret *corev1.Secret) map[string]dockerAuth {
	if data, ok := secret.Data[corev1.DockerConfigJsonKey]; ok {
		return logins(data)
	}
	var auths map[string]dockerAuth
	if json.Unmarshal(secret.Data[corev1.DockerConfigKey], &auths) != nil {
		return nil
	}
	return auths
}

// logins reads a file as docker login writes it.
func logins(text []byte) map[string]dockerAuth {
	var file struct{ Auths map[string]dockerAuth }
	if json.Unmarshal(text, &file) != nil {
		return nil
	}
	return file.Auths
}

const dockerHub = "docker.io"

// matches tells whether credentials for a registry, or for a path of it, are for an image.
func matches(registry, image string) bool {
	registry = strings.TrimPrefix(strings.TrimPrefix(registry, "https://"), "http://")
	registry = strings.TrimSuffix(strings.TrimSuffix(registry, "/"), "/v1")
	host, prefix, _ := strings.Cut(registry, "/")
	if strings.HasSuffix(host, dockerHub) {
		host = dockerHub
	}
	imageHost, imagePath, more := strings.Cut(image, "/")
	if !more || !strings.ContainsAny(imageHost, ".:") && imageHost != "localhost" {
		imageHost, imagePath = dockerHub, image
	}
	return hostMatches(host, imageHost) && (prefix == "" || prefix == "v2" || below(imagePath, prefix))
}

// hostMatches compares hosts; a part of the pattern may have wildcards, as in "*.example.com".
func hostMatches(pattern, host string) bool {
	patternName, patternPort, _ := strings.Cut(pattern, ":")
	name, port, _ := strings.Cut(host, ":")
	want, have := strings.Split(patternName, "."), strings.Split(name, ".")
	if patternPort != port || len(want) != len(have) {
		return false
	}
	for i := range want {
		if ok, err := path.Match(want[i], have[i]); err != nil || !ok {
			return false
		}
	}
	return true
}

// below tells whether an image's path is a prefix, or lies below it.
func below(image, prefix string) bool {
	rest, ok := strings.CutPrefix(image, prefix)
	return ok && (rest == "" || strings.ContainsAny(rest[:1], "/:@") || strings.HasSuffix(prefix, "/"))
}

func credentials(registry string, auth dockerAuth) runtime.Credentials {
	c := runtime.Credentials{
		Username: auth.Username, Password: auth.Password, ServerAddress: registry,
		IdentityToken: auth.IdentityToken, RegistryToken: auth.RegistryToken,
	}
	if decoded, err := base64.StdEncoding.DecodeString(auth.Auth); err == nil && len(decoded) > 0 {
		c.Username, c.Password, _ = strings.Cut(string(decoded), ":")
	}
	return c
}
