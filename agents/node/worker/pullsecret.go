package worker

import (
	"encoding/base64"
	"encoding/json"
	"strings"

	corev1 "k8s.io/api/core/v1"

	"karve.dev/karve/agents/node/runtime"
)

type dockerAuth struct {
	Username, Password, Auth, IdentityToken, RegistryToken string
}

// pullSecrets returns the credentials among the pod's imagePullSecrets that are for the image's registry.
func (w *worker) pullSecrets(pod *corev1.Pod, image string) []runtime.Credentials {
	var out []runtime.Credentials
	for _, ref := range pod.Spec.ImagePullSecrets {
		secret := w.pool.cfg.Objects.Secret(pod.Namespace, ref.Name)
		if secret == nil {
			continue // an image may be public: the pull tells
		}
		for registry, auth := range registries(secret) {
			if matches(registry, image) {
				out = append(out, credentials(registry, auth))
			}
		}
	}
	return out
}

func registries(secret *corev1.Secret) map[string]dockerAuth {
	if data, ok := secret.Data[corev1.DockerConfigJsonKey]; ok {
		var file struct{ Auths map[string]dockerAuth }
		if json.Unmarshal(data, &file) == nil {
			return file.Auths
		}
	}
	var auths map[string]dockerAuth
	if json.Unmarshal(secret.Data[corev1.DockerConfigKey], &auths) != nil {
		return nil
	}
	return auths
}

const dockerHub = "docker.io"

// matches tells whether credentials for a registry, or for a path of it, are for an image.
func matches(registry, image string) bool {
	registry = strings.TrimPrefix(strings.TrimPrefix(registry, "https://"), "http://")
	registry = strings.TrimSuffix(strings.TrimSuffix(registry, "/"), "/v1")
	host, path, _ := strings.Cut(registry, "/")
	if strings.HasSuffix(host, dockerHub) {
		host = dockerHub
	}
	imageHost, imagePath, more := strings.Cut(image, "/")
	if !more || !strings.ContainsAny(imageHost, ".:") && imageHost != "localhost" {
		imageHost, imagePath = dockerHub, image
	}
	return host == imageHost && (path == "" || path == "v2" || strings.HasPrefix(imagePath, path))
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
