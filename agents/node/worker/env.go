package worker

import (
	"fmt"
	"maps"
	"slices"
	"strings"

	corev1 "k8s.io/api/core/v1"

	"karve.dev/karve/agents/node/envfile"
	"karve.dev/karve/agents/node/podfield"
)

// environment is a container's variables in the order of their definition; a later definition takes the place of an
// earlier one.
type environment struct {
	names  []string
	values map[string]string
}

func (e *environment) set(name, value string) {
	if _, known := e.values[name]; !known {
		e.names = append(e.names, name)
	}
	e.values[name] = value
}

func (e *environment) list() []string {
	out := make([]string, 0, len(e.names))
	for _, name := range e.names {
		out = append(out, name+"="+e.values[name])
	}
	return out
}

// environment resolves the container's variables.
func (s *starting) environment() (*environment, error) {
	env := &environment{values: map[string]string{}}
	s.apiVariables(env)
	s.serviceVariables(env)
	for i := range s.c.EnvFrom {
		if err := s.envFrom(env, &s.c.EnvFrom[i]); err != nil {
			return nil, err
		}
	}
	facts := s.facts()
	for i := range s.c.Env {
		v := &s.c.Env[i]
		value, ok := expand(v.Value, env), true
		if v.ValueFrom != nil {
			var err error
			if value, ok, err = s.valueFrom(v.ValueFrom, facts); err != nil {
				return nil, err
			}
		}
		if ok {
			env.set(v.Name, value)
		}
	}
	return env, nil
}

// apiVariables tell clients in the pod where the API is, also before the node has been told of its Service.
func (s *starting) apiVariables(env *environment) {
	host := s.pool.cfg.APIService
	if host == "" {
		return
	}
	for _, v := range [][2]string{
		{"KUBERNETES_SERVICE_HOST", host}, {"KUBERNETES_SERVICE_PORT", "443"}, {"KUBERNETES_SERVICE_PORT_HTTPS", "443"},
		{"KUBERNETES_PORT", "tcp://" + host + ":443"}, {"KUBERNETES_PORT_443_TCP", "tcp://" + host + ":443"},
		{"KUBERNETES_PORT_443_TCP_PROTO", "tcp"}, {"KUBERNETES_PORT_443_TCP_PORT", "443"}, {"KUBERNETES_PORT_443_TCP_ADDR", host},
	} {
		env.set(v[0], v[1])
	}
}

func (s *starting) envFrom(env *environment, from *corev1.EnvFromSource) error {
	data, what, name, optional := map[string]string(nil), "", "", (*bool)(nil)
	switch {
	case from.ConfigMapRef != nil:
		what, name, optional = "configmap", from.ConfigMapRef.Name, from.ConfigMapRef.Optional
		if object := s.pool.cfg.Objects.ConfigMap(s.namespace, name); object != nil {
			data = nonNil(object.Data)
		}
	case from.SecretRef != nil:
		what, name, optional = "secret", from.SecretRef.Name, from.SecretRef.Optional
		if object := s.pool.cfg.Objects.Secret(s.namespace, name); object != nil {
			data = map[string]string{}
			for key, value := range object.Data {
				data[key] = string(value)
			}
		}
	}
	if data == nil {
		if optional != nil && *optional {
			return nil
		}
		return fmt.Errorf("%s %q not found", what, name)
	}
	for _, key := range slices.Sorted(maps.Keys(data)) {
		env.set(from.Prefix+key, data[key])
	}
	return nil
}

func nonNil(m map[string]string) map[string]string {
	if m == nil {
		return map[string]string{}
	}
	return m
}

// valueFrom resolves a reference; ok is false when it is optional and leads nowhere.
func (s *starting) valueFrom(from *corev1.EnvVarSource, facts *podfield.Facts) (value string, ok bool, err error) {
	switch {
	case from.FieldRef != nil:
		value, err = podfield.Field(s.pod, facts, from.FieldRef.FieldPath)
		return value, true, err
	case from.ResourceFieldRef != nil:
		value, err = podfield.Resource(s.pod, facts, s.c.Name, from.ResourceFieldRef)
		return value, true, err
	case from.FileKeyRef != nil:
		return s.fromFile(from.FileKeyRef)
	case from.ConfigMapKeyRef != nil:
		ref := from.ConfigMapKeyRef
		object := s.pool.cfg.Objects.ConfigMap(s.namespace, ref.Name)
		if object != nil {
			value, ok = object.Data[ref.Key]
		}
		return found(value, ok, object != nil, ref.Optional, "configmap", "ConfigMap", ref.Name, ref.Key, s.namespace)
	case from.SecretKeyRef != nil:
		ref := from.SecretKeyRef
		object := s.pool.cfg.Objects.Secret(s.namespace, ref.Name)
		if object != nil {
			var data []byte
			data, ok = object.Data[ref.Key]
			value = string(data)
		}
		return found(value, ok, object != nil, ref.Optional, "secret", "Secret", ref.Name, ref.Key, s.namespace)
	}
	return "", false, fmt.Errorf("this source of an environment variable is not supported yet")
}

// fromFile reads a variable from a file that another container of the pod has written into a volume.
func (s *starting) fromFile(ref *corev1.FileKeySelector) (value string, ok bool, err error) {
	folder, known := s.volumes().Paths[ref.VolumeName]
	if !known {
		return "", false, fmt.Errorf("cannot find the volume %q referenced by FileKeyRef", ref.VolumeName)
	}
	if value, err = envfile.Read(folder, ref.Path, ref.Key); err != nil {
		return "", false, fmt.Errorf("couldn't parse env file: %w", err)
	}
	if value == "" && !isTrue(ref.Optional) {
		return "", false, fmt.Errorf("environment variable key %q not found in file %q", ref.Key, ref.Path)
	}
	return value, value != "", nil
}

func found(value string, ok, exists bool, optional *bool, resource, kind, name, key, namespace string) (string, bool, error) {
	switch {
	case ok:
		return value, true, nil
	case optional != nil && *optional:
		return "", false, nil
	case !exists:
		return "", false, fmt.Errorf("%s %q not found", resource, name)
	}
	return "", false, fmt.Errorf("couldn't find key %s in %s %s/%s", key, kind, namespace, name)
}

// expand replaces $(NAME) by the variable's value; $$ stands for one $, and names that are not known stay as they are.
func expand(text string, env *environment) string {
	out, _ := expandKnown(text, env)
	return out
}

// expandKnown is expand, and names the last variable that the environment does not have, if any.
func expandKnown(text string, env *environment) (expanded, unknown string) {
	var out strings.Builder
	for {
		before, rest, ok := strings.Cut(text, "$")
		out.WriteString(before)
		if !ok {
			return out.String(), unknown
		}
		name, after, closed := strings.Cut(strings.TrimPrefix(rest, "("), ")")
		value, known := env.values[name]
		switch {
		case strings.HasPrefix(rest, "$"):
			out.WriteByte('$')
			text = rest[1:]
		case strings.HasPrefix(rest, "(") && closed && known:
			out.WriteString(value)
			text = after
		case strings.HasPrefix(rest, "(") && closed:
			out.WriteString("$(" + name + ")")
			text, unknown = after, name
		default:
			out.WriteByte('$')
			text = rest
		}
	}
}

func expandAll(list []string, env *environment) []string {
	if list == nil {
		return nil
	}
	out := make([]string, len(list))
	for i := range list {
		out[i] = expand(list[i], env)
	}
	return out
}
