package volume

import (
	"context"
	"fmt"
	"path"
	"strings"
	"time"

	corev1 "k8s.io/api/core/v1"

	"karve.dev/karve/agents/node/podfield"
)

const defaultMode int32 = 0o644

func (m *Manager) configMap(_ context.Context, r *request) (string, error) {
	src := r.spec.ConfigMap
	r.readOnly = true
	content := content{}
	if err := m.addConfigMap(content, r.pod.Namespace, src.Name, src.Items, value(src.Optional), mode(src.DefaultMode)); err != nil {
		return "", err
	}
	return r.dir, write(r.pod, r.dir, content, false)
}

func (m *Manager) secret(_ context.Context, r *request) (string, error) {
	src := r.spec.Secret
	r.readOnly = true
	content := content{}
	if err := m.addSecret(content, r.pod.Namespace, src.SecretName, src.Items, value(src.Optional), mode(src.DefaultMode)); err != nil {
		return "", err
	}
	return r.dir, write(r.pod, r.dir, content, true)
}

func (m *Manager) downwardAPI(_ context.Context, r *request) (string, error) {
	src := r.spec.DownwardAPI
	r.readOnly = true
	content := content{}
	if err := content.addFields(r.pod, r.facts, src.Items, mode(src.DefaultMode)); err != nil {
		return "", err
	}
	return r.dir, write(r.pod, r.dir, content, false)
}

func (m *Manager) projected(ctx context.Context, r *request) (string, error) {
	src := r.spec.Projected
	r.readOnly = true
	content, def := content{}, mode(src.DefaultMode)
	for i := range src.Sources {
		if err := m.addProjection(ctx, r, content, &src.Sources[i], def); err != nil {
			return "", err
		}
	}
	return r.dir, write(r.pod, r.dir, content, true)
}

func (m *Manager) addProjection(ctx context.Context, r *request, c content, p *corev1.VolumeProjection, def int32) error {
	ns := r.pod.Namespace
	switch {
	case p.ConfigMap != nil:
		return m.addConfigMap(c, ns, p.ConfigMap.Name, p.ConfigMap.Items, value(p.ConfigMap.Optional), def)
	case p.Secret != nil:
		return m.addSecret(c, ns, p.Secret.Name, p.Secret.Items, value(p.Secret.Optional), def)
	case p.DownwardAPI != nil:
		return c.addFields(r.pod, r.facts, p.DownwardAPI.Items, def)
	case p.ServiceAccountToken != nil:
		token, refresh, err := m.tokens.get(ctx, r, p.ServiceAccountToken)
		if err != nil {
			return fmt.Errorf("failed to fetch token: %w", err)
		}
		r.refreshBy(refresh)
		return c.addPrivate(r.pod, p.ServiceAccountToken.Path, []byte(token), def)
	case p.ClusterTrustBundle != nil:
		return m.addTrust(ctx, r, c, p.ClusterTrustBundle, def)
	case p.PodCertificate != nil:
		return m.addCertificate(ctx, r, c, p.PodCertificate, def)
	}
	return fmt.Errorf("this kind of projection is not supported yet")
}

func (m *Manager) addConfigMap(c content, namespace, name string, items []corev1.KeyToPath, optional bool, def int32) error {
	object := m.objects.ConfigMap(namespace, name)
	if object == nil {
		return missing(optional, "configmap %q not found", name)
	}
	data := make(map[string][]byte, len(object.Data)+len(object.BinaryData))
	for key, text := range object.Data {
		data[key] = []byte(text)
	}
	for key, bytes := range object.BinaryData {
		data[key] = bytes
	}
	return c.addKeys("configmap references non-existent config key", data, items, optional, def)
}

func (m *Manager) addSecret(c content, namespace, name string, items []corev1.KeyToPath, optional bool, def int32) error {
	object := m.objects.Secret(namespace, name)
	if object == nil {
		return missing(optional, "secret %q not found", name)
	}
	return c.addKeys("references non-existent secret key", object.Data, items, optional, def)
}

func missing(optional bool, format, name string) error {
	if optional {
		return nil
	}
	return fmt.Errorf(format, name)
}

// content is the files of one volume, by their path in it.
type content map[string]file

type file struct {
	data []byte
	mode int32
	// user owns the file; nil for root.
	user *int64
}

func (c content) add(name string, data []byte, mode int32) error {
	clean := path.Clean("/" + name)[1:]
	if clean == "" || clean != strings.TrimSuffix(name, "/") || strings.HasPrefix(clean, "..") {
		return fmt.Errorf("invalid path %q", name)
	}
	c[clean] = file{data: data, mode: mode}
	return nil
}

// addPrivate adds what is the pod's alone. Where all its containers run as one user, or it has a group for its files, nobody
// else may read it.
func (c content) addPrivate(pod *corev1.Pod, name string, data []byte, mode int32) error {
	user := commonUser(pod)
	if _, grouped := fsGroup(pod); grouped || user != nil {
		mode = 0o600
	}
	if err := c.add(name, data, mode); err != nil {
		return err
	}
	f := c[name]
	f.user = user
	c[name] = f
	return nil
}

// commonUser is whom all the pod's containers run as, if they all say so.
func commonUser(pod *corev1.Pod) *int64 {
	var common *int64
	same := true
	take := func(own *corev1.SecurityContext) {
		var user *int64
		if sc := pod.Spec.SecurityContext; sc != nil {
			user = sc.RunAsUser
		}
		if own != nil && own.RunAsUser != nil {
			user = own.RunAsUser
		}
		same = same && user != nil && (common == nil || *common == *user)
		common = user
	}
	for _, list := range [][]corev1.Container{pod.Spec.InitContainers, pod.Spec.Containers} {
		for i := range list {
			take(list[i].SecurityContext)
		}
	}
	for i := range pod.Spec.EphemeralContainers {
		take(pod.Spec.EphemeralContainers[i].SecurityContext)
	}
	if !same {
		return nil
	}
	return common
}

// addKeys adds keys of an object: all, or those that items choose. missing is what is said of one that is not there.
func (c content) addKeys(missing string, data map[string][]byte, items []corev1.KeyToPath, optional bool, def int32) error {
	if len(items) == 0 {
		for key, bytes := range data {
			if err := c.add(key, bytes, def); err != nil {
				return err
			}
		}
		return nil
	}
	for _, item := range items {
		bytes, ok := data[item.Key]
		if !ok && optional {
			continue
		}
		if !ok {
			return fmt.Errorf("%s: %s", missing, item.Key)
		}
		m := def
		if item.Mode != nil {
			m = *item.Mode
		}
		if err := c.add(item.Path, bytes, m); err != nil {
			return err
		}
	}
	return nil
}

func (c content) addFields(pod *corev1.Pod, facts *podfield.Facts, items []corev1.DownwardAPIVolumeFile, def int32) error {
	for _, item := range items {
		text, err := "", error(nil)
		switch {
		case item.FieldRef != nil:
			text, err = podfield.Field(pod, facts, item.FieldRef.FieldPath)
		case item.ResourceFieldRef != nil:
			text, err = podfield.Resource(pod, facts, item.ResourceFieldRef.ContainerName, item.ResourceFieldRef)
		}
		if err != nil {
			return err
		}
		m := def
		if item.Mode != nil {
			m = *item.Mode
		}
		if err := c.add(item.Path, []byte(text), m); err != nil {
			return err
		}
	}
	return nil
}

func value(b *bool) bool { return b != nil && *b }

func mode(m *int32) int32 {
	if m == nil {
		return defaultMode
	}
	return *m
}

// soon is how early a token is renewed: when a fifth of its life is left, as on a kubelet.
func soon(issued, expiry time.Time) time.Time {
	return expiry.Add(-expiry.Sub(issued) / 5)
}
